from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from streams.errors import HeadError
from streams.mail.features import features, key
from streams.mail.form import FORM
from streams.mail.reasons import Reason
from streams.mail.spam import FEW, WIDTH, SpamHead, shares
from streams.mail.tensors import to_bytes
from tests.streams.mail.letters import mail

WORDS = {"pills": 4.0, "free": 2.0, "subject: win": 6.0, "lunch": -5.0}
NOWHERE = np.zeros(WIDTH, np.float32)


def arrays(words: dict[str, float] | None = None) -> dict[str, np.ndarray]:
    known = sorted((key(word), weight) for word, weight in (words or WORDS).items())
    form = np.zeros(len(FORM), np.float32)
    form[FORM.index("exclamation marks")] = 3.0
    return {
        "keys": np.array([one for one, _ in known], np.uint64),
        "words": np.array([weight for _, weight in known], np.float32),
        "form": form,
        "vector": np.eye(WIDTH, dtype=np.float32)[0] * 2,
        "scale": np.array([-1.0, 1.5, 0.25, 0.9]),
    }


HEAD = SpamHead(**arrays())


def test_a_probability_is_the_calibrated_sum_of_what_was_seen():
    one = mail("win", "free pills and lunch")
    # Four words are known: each counts 1 / sqrt(4 + FEW).
    score = (4 + 2 + 6 - 5) / math.sqrt(4 + FEW) + 2 * 0.5 - 1
    vector = np.full(WIDTH, 0.5, np.float32)
    assert HEAD.score(features(one), vector) == pytest.approx(score, abs=1e-5)
    judged = HEAD.judge(one, vector)
    assert judged.probability == pytest.approx(1 / (1 + math.exp(-(1.5 * score + 0.25))), abs=1e-6)
    assert HEAD.probabilities(np.array([score])).tolist() == pytest.approx([judged.probability], abs=1e-6)


def test_reasons_are_the_terms_of_that_sum_and_only_of_spam():
    judged = HEAD.judge(mail("win", "free pills and lunch"), np.eye(WIDTH, dtype=np.float32)[0], taught=1.0)
    assert judged.reasons == (
        Reason("its meaning as a whole", 3.0),
        Reason("subject: win", round(1.5 * 6 / math.sqrt(4 + FEW), 2)),
        Reason("pills", round(1.5 * 4 / math.sqrt(4 + FEW), 2)),
        Reason("your corrections", 1.0),
        Reason("free", round(1.5 * 2 / math.sqrt(4 + FEW), 2)),
    )
    assert HEAD.judge(mail("hi", "lunch"), NOWHERE).reasons == ()
    assert HEAD.judge(mail("hi", "pills!!!!!!!!!!!!!!!!!!!!"), NOWHERE).reasons[0].phrase in {
        "exclamation marks",
        "pills",
    }


def test_words_that_nobody_knows_change_nothing():
    known = HEAD.judge(mail("win", "free pills"), NOWHERE)
    assert HEAD.judge(mail("win", "zqxj blorp free pills flurb"), NOWHERE).probability == pytest.approx(
        known.probability
    )
    assert HEAD.score(features(mail("zqxj", "blorp flurb")), NOWHERE) == pytest.approx(-1.0)


@given(st.sets(st.sampled_from(["pills", "free", "lunch", "blorp", "zqxj", "money"])))
def test_a_head_that_knows_one_word_finds_it_and_no_other(words):
    for known in ("pills", "free"):
        head = SpamHead(**arrays({known: 4.0}))
        found = head.score(features(mail("", " ".join(sorted(words)))), NOWHERE) > -0.9
        assert found == (known in words)


def test_what_was_taught_is_added_to_the_log_odds():
    one = mail("hi", "lunch")
    plain, bent = HEAD.judge(one, NOWHERE), HEAD.judge(one, NOWHERE, taught=9.0)
    odds = [math.log(each.probability / (1 - each.probability)) for each in (plain, bent)]
    assert odds[1] - odds[0] == pytest.approx(9, abs=1e-3)
    assert (plain.is_spam, bent.is_spam) == (False, True)
    assert bent.reasons[0] == Reason("your corrections", 9.0)


def test_at_the_threshold_it_is_spam_and_below_not():
    one = mail("win", "free")
    said = HEAD.judge(one, NOWHERE).probability
    for threshold, is_spam in ((said, True), (float(np.nextafter(said, 1)), False)):
        head = replace(HEAD, scale=np.array([-1.0, 1.5, 0.25, threshold]))
        assert head.threshold == threshold
        assert head.judge(one, NOWHERE).is_spam is is_spam


def test_a_long_mail_has_no_louder_voice():
    counts = np.array([0, 3, 99])
    np.testing.assert_allclose(shares(counts) ** 2 * (counts + FEW), 1)


def test_bytes_bring_the_same_head_back_and_are_the_same():
    facts = {"corpus": "a", "seed": "1", "mails": "9", "more": "x"}
    data = HEAD.to_bytes(facts)
    assert {HEAD.to_bytes(dict(reversed(facts.items()))) for _ in range(20)} == {data}
    again = SpamHead.from_bytes(data)
    for name in arrays():
        np.testing.assert_array_equal(getattr(again, name), getattr(HEAD, name))
    assert again.to_bytes(facts) == data
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == facts


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=30), max_size=4), st.integers(0, 9))
def test_safetensors_hold_what_they_were_given(metadata, length):
    tensors = {"a": np.arange(length, dtype=np.int16), "b": np.full((2, length), 0.5)}
    data = to_bytes(tensors, metadata)
    begin = int.from_bytes(data[:8], "little")
    assert begin % 8 == 0
    assert json.loads(data[8 : 8 + begin]).get("__metadata__", {}) == metadata
    for name, array in load(data).items():
        np.testing.assert_array_equal(array, tensors[name])


def test_the_head_that_is_shipped_is_one():
    head = SpamHead.shipped()
    assert head is SpamHead.shipped()
    assert len(head.keys) > 1000
    assert 0.5 <= head.threshold <= 1
    assert head.scale[1] > 0


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        *(({name: None}, name) for name in arrays()),
        ({"keys": arrays()["keys"].astype(np.int64)}, "keys"),
        ({"keys": arrays()["keys"][::-1].copy()}, "ascend"),
        ({"keys": arrays()["keys"][[0, 0, 1, 2]]}, "ascend"),
        ({"keys": arrays()["keys"][:-1]}, "ascend"),
        ({"keys": np.zeros(0, np.uint64), "words": np.zeros(0, np.float32)}, "ascend"),
        ({"keys": np.array(7, np.uint64), "words": np.array(1, np.float32)}, "keys"),
        ({"keys": arrays()["keys"].reshape(2, 2), "words": arrays()["words"].reshape(2, 2)}, "keys"),
        ({"words": arrays()["words"].astype(np.float64)}, "words"),
        ({"words": np.full(len(WORDS), np.nan, np.float32)}, "words"),
        ({"form": np.zeros(len(FORM) + 1, np.float32)}, "form"),
        ({"form": np.full(len(FORM), np.inf, np.float32)}, "form"),
        ({"vector": np.zeros(WIDTH - 1, np.float32)}, "vector"),
        ({"vector": np.zeros((1, WIDTH), np.float32)}, "vector"),
        ({"scale": np.zeros(3)}, "scale"),
        ({"scale": np.zeros(4, np.float32)}, "scale"),
        ({"scale": np.array([0, 1, 0, np.nan])}, "scale"),
    ],
)
def test_what_is_no_head_is_a_typed_error_that_names_it(changed, match):
    tensors = {name: array for name, array in (arrays() | changed).items() if array is not None}
    with pytest.raises(HeadError, match=match) as refused:
        SpamHead.from_bytes(save(tensors))
    assert refused.value.code == "mail.head"


@given(st.binary(max_size=200) | st.integers(0, len(HEAD.to_bytes({})) - 1).map(lambda end: HEAD.to_bytes({})[:end]))
def test_other_bytes_are_a_typed_error(data):
    with pytest.raises(HeadError):
        SpamHead.from_bytes(data)


@pytest.mark.parametrize(("kind", "size"), [("BF16", 2), ("F8_E4M3", 1), ("C64", 8), ("X1", 1)])
def test_numbers_of_a_kind_that_is_not_known_are_a_typed_error(kind, size):
    header = json.dumps({"keys": {"dtype": kind, "shape": [8 // size], "data_offsets": [0, 8]}}).encode()
    with pytest.raises(HeadError):
        SpamHead.from_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
