"""The training, on a small corpus that the tests make up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streams.mail import training
from streams.mail.clusters import held_out
from streams.mail.corpus import Sample
from streams.mail.features import features, key
from streams.mail.form import FORM
from streams.mail.learn import sigmoid
from streams.mail.measures import spam_measures
from streams.mail.parse import parse
from streams.mail.spam import WIDTH, SpamHead
from streams.mail.training import LEAST_CLUSTERS, MOST_HAM_CALLED_SPAM, REPEATS, Corpus, out_of_fold, prepared, trained
from tests.streams.mail.letters import samples

if TYPE_CHECKING:
    from streams.mail.labels import Floats

pytestmark = pytest.mark.slow


def drawn(mails: int, per_cluster: int = 1, seed: int = 0, anchors: Floats | None = None) -> Corpus:
    """A corpus of numbers: word 0 tells spam nine times in ten, and 50 others say nothing."""
    draw = np.random.default_rng(seed)
    spam = (np.arange(mails) // per_cluster % 2).astype(np.float64)
    used = []
    for each in spam:
        told = (each == 1) == (draw.random() < 0.9)
        used.append(np.array(([0] if told else []) + sorted(draw.choice(50, 5, replace=False) + 1), np.int64))
    vectors = draw.normal(size=(mails, WIDTH)).astype(np.float32)
    return Corpus(
        names=tuple(f"group/{number:05}" for number in range(mails)),
        groups=("group",) * mails,
        spam=spam,
        words=tuple(f"word {number}" for number in range(51)),
        used=tuple(used),
        form=draw.random((mails, len(FORM))).astype(np.float32),
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        clusters=np.arange(mails) // per_cluster * per_cluster,
        anchors=np.zeros((0, WIDTH), np.float32) if anchors is None else anchors,
    )


def test_what_is_prepared_is_each_mail_as_the_head_sees_it(small, encoder):
    some = samples(160)
    assert small.names == tuple(one.name for one in some)
    assert small.spam.tolist() == [float(one.spam) for one in some]
    for index in (0, 77, 159):
        seen = features(parse(some[index].raw))
        assert small.features(index).words == seen.words
        np.testing.assert_array_equal(small.features(index).form, seen.form)
    assert small.vectors.shape == (160, WIDTH)


def test_what_lies_near_an_anchor_is_less_of_spam():
    place = np.eye(WIDTH, dtype=np.float32)[:1]
    plain, anchored = (drawn(200, anchors=anchors) for anchors in (None, np.repeat(place, 20, 0)))
    heads = [trained(corpus, np.arange(200))[0] for corpus in (plain, anchored)]
    assert heads[1].vector[0] < heads[0].vector[0] - 0.1


def test_what_is_no_mail_is_left_out(encoder):
    odd = Sample("spam-1/zzz", "spam-1", spam=True, raw=b"no header at all")
    corpus = prepared([*samples(4), odd], encoder)
    assert len(corpus.names) == len(corpus.used) == len(corpus.clusters) == 4


def test_parts_are_apart_whole_and_hold_no_cluster_together(small):
    part, out = small.parts()
    assert sorted([*part, *out]) == list(range(160))
    assert not set(small.clusters[part]) & set(small.clusters[out])
    assert 0.05 < len(out) / 160 < 0.4
    assert small.parts(7)[1].tolist() != out.tolist()


def test_the_same_mails_make_the_same_bytes(small, encoder, small_head):
    again = trained(prepared(samples(160), encoder), small.parts()[0])[0]
    assert again.to_bytes({"a": "1", "b": "2"}) == small_head.to_bytes({"b": "2", "a": "1"})
    assert SpamHead.from_bytes(again.to_bytes({})).to_bytes({}) == small_head.to_bytes({})


def test_it_learns_what_tells_them_apart_and_nothing_of_the_held_out_part(small, small_head):
    part, out = small.parts()
    scores = np.array([small_head.score(small.features(index), small.vectors[index]) for index in out])
    assert np.mean((scores > 0) == small.spam[out]) > 0.65
    # Whatever is said of the held-out part, and whatever lies in it, the head is the same.
    other = replace(small, spam=np.where(np.isin(np.arange(160), out), 1 - small.spam, small.spam))
    assert trained(other, part)[0].to_bytes({}) == small_head.to_bytes({})


def test_a_word_is_known_if_enough_clusters_use_it():
    corpus = drawn(120, per_cluster=2)
    words = (*corpus.words, "enough", "one campaign's")
    used = [*corpus.used]
    for mail in range(0, 2 * LEAST_CLUSTERS, 2):
        used[mail] = np.append(used[mail], 51)
    for mail in [*range(2 * LEAST_CLUSTERS - 2)]:  # more mails, fewer clusters
        used[mail] = np.append(used[mail], 52)
    head, _ = trained(replace(corpus, words=words, used=tuple(used)), np.arange(120))
    assert key("enough") in head.keys
    assert key("one campaign's") not in head.keys


def test_scores_are_of_weights_that_never_saw_the_mail_s_cluster():
    corpus = drawn(200, per_cluster=4)
    part = np.arange(200)
    before = out_of_fold(corpus, part)
    for first in (0, 36, 100):
        inside = corpus.clusters == first
        flipped = out_of_fold(replace(corpus, spam=np.where(inside, 1 - corpus.spam, corpus.spam)), part)
        np.testing.assert_array_equal(flipped[inside], before[inside])
        assert (flipped[~inside] != before[~inside]).any()


def test_each_mail_has_a_score_and_each_fold_some_mails():
    corpus = drawn(200)
    scores = out_of_fold(corpus, np.arange(200))
    assert np.count_nonzero(scores) == 200
    assert np.mean((scores > 0) == corpus.spam) > 0.75


def test_what_is_learnt_is_worth_more_seen_than_out_of_fold():
    corpus = drawn(200)
    head, told = trained(corpus, np.arange(200))
    seen = np.array([head.score(corpus.features(index), corpus.vectors[index]) for index in range(200)])
    assert spam_measures(head.probabilities(seen), corpus.spam, head.threshold).brier < told.brier


@pytest.mark.parametrize(("mails", "most"), [(100, 0.0035), (400, 0.0035), (400, 0.05), (400, 0.2), (402, 0.1)])
def test_the_threshold_loses_no_more_good_mails_than_it_may(mails, most, monkeypatch):
    monkeypatch.setattr(training, "MOST_HAM_CALLED_SPAM", most)
    head, told = trained(drawn(mails, seed=3), np.arange(mails))
    ham = mails // 2 * REPEATS
    (_, false), _ = told.confusion.counts
    assert false <= most * ham
    # And no fewer than need be, unless it would call spam what is as likely none.
    assert head.threshold == 0.5 or false + 1 > most * ham - 1
    assert told.threshold == pytest.approx(head.threshold, abs=1e-4)


def test_the_goal_of_the_threshold_leaves_a_margin():
    assert MOST_HAM_CALLED_SPAM < 0.005


def test_probabilities_are_calibrated_out_of_fold():
    corpus, part = drawn(800), np.arange(800)
    _, told = trained(corpus, part)
    raw = spam_measures(sigmoid(out_of_fold(corpus, part)), corpus.spam, 0.5)
    assert told.brier <= raw.brier
    assert sum(each.mails * each.said for each in told.bins) / told.mails == pytest.approx(corpus.spam.mean(), abs=0.01)


def test_folds_hold_whole_clusters(small):
    sides = held_out(small.clusters, small.names, 0.5, 1)
    for cluster in set(small.clusters.tolist()):
        assert len(set(sides[small.clusters == cluster].tolist())) == 1
