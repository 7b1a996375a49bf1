"""How the spam head is made: a vocabulary, weights, a calibration and a threshold, all from the training part alone.

Scores to calibrate on and to set the threshold by are out-of-fold: each mail is scored by weights that were fitted
without its cluster. Every step is deterministic, so that the same mails give the same head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from streams.errors import PayloadError
from streams.mail.clusters import clusters, held_out
from streams.mail.descriptions import CATEGORY_DESCRIPTIONS, URGENCY_DESCRIPTIONS
from streams.mail.features import Features, features, key
from streams.mail.form import FORM
from streams.mail.learn import Rows, calibrated, fit, sigmoid
from streams.mail.measures import SpamMeasures, spam_measures
from streams.mail.parse import parse
from streams.mail.reading import passage
from streams.mail.spam import WIDTH, SpamHead, shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.mail.corpus import Sample
    from streams.mail.labels import Floats
    from streams.mail.learn import Doubles, Ints
    from streams.mail.model import MailModel

HELD_OUT = 0.2
SEED = 20261122
FOLDS, REPEATS = 5, 3
LEAST_CLUSTERS = 5
"""A word is known if so many clusters of mails use it: what one sender, thread or campaign says is no word of mail."""
WORDS_PENALTY, FORM_PENALTY, VECTOR_PENALTY = 0.02, 0.5, 0.03
"""Of the squared weights, in mails; chosen by the folds of the training part."""
_EVEN = 0.2
"""What keeps a word that is as often in both classes from being shut out."""
MOST_HAM_CALLED_SPAM = 0.0045
"""Of the training part, out of fold; the goal is 0.005, and the rest is margin."""

Indices = np.ndarray[Any, np.dtype[np.int64]]
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """A corpus as the head sees it.

    Attributes:
        names: of the mails.
        groups: the folder of each.
        spam: 1 for spam, 0 for ham, float64 [mails].
        words: all words of all mails.
        used: the indices in `words` of what each mail holds, int64 [mails][words].
        form: the counts of each, float32 [mails, len(FORM)].
        vectors: of the encoder, float32 [mails, 384].
        clusters: each mail's, by the index of its first mail, int64 [mails].
        anchors: of the encoder for what the labels' descriptions say, float32 [anchors, 384]: good mails as this corpus
            has none, such as receipts and journeys, in languages of which it knows little but spam.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    spam: Doubles
    words: tuple[str, ...]
    used: tuple[Indices, ...]
    form: Floats
    vectors: Floats
    clusters: Ints
    anchors: Floats

    def parts(self, seed: int = SEED) -> tuple[Indices, Indices]:
        """Return the indices of the training part and of the held-out fifth; no cluster lies in both."""
        out = held_out(self.clusters, self.names, HELD_OUT, seed)
        return np.flatnonzero(~out), np.flatnonzero(out)

    def features(self, index: int) -> Features:
        """Return a mail as the head sees it."""
        return Features(tuple(self.words[word] for word in self.used[index]), self.form[index])

    def entries(self, part: Indices) -> tuple[Indices, Indices]:
        """Return the words of all mails of a part, one after another: the place in the part, the index in `words`."""
        used = [self.used[index] for index in part]
        return np.repeat(np.arange(len(part)), [len(words) for words in used]), np.concatenate(used)


def prepared(samples: Sequence[Sample], model: MailModel) -> Corpus:
    """Return the corpus parsed, read and clustered; what is no mail at all is left out."""
    kept, mails = [], []
    for sample in samples:
        try:
            mails.append(parse(sample.raw))
        except PayloadError as error:
            _log.warning("corpus.unreadable", name=sample.name, why=error.message)
        else:
            kept.append(sample)
    places: dict[str, int] = {}
    vectors, used, form = [], [], []
    for count, mail in enumerate(mails, 1):
        seen = features(mail)
        used.append(np.array([places.setdefault(word, len(places)) for word in seen.words], np.int64))
        form.append(seen.form)
        vectors.append(model.embed(passage(mail)))
        if not count % 500:
            _log.info("corpus.read", mails=count, of=len(mails))
    return Corpus(
        names=tuple(sample.name for sample in kept),
        groups=tuple(sample.group for sample in kept),
        spam=np.array([sample.spam for sample in kept], np.float64),
        words=tuple(places),
        used=tuple(used),
        form=np.stack(form),
        vectors=np.stack(vectors),
        clusters=clusters([(mail.subject, mail.text) for mail in mails]),
        anchors=model.described(chain(*CATEGORY_DESCRIPTIONS.values(), *URGENCY_DESCRIPTIONS.values())),
    )


def trained(corpus: Corpus, part: Indices) -> tuple[SpamHead, SpamMeasures]:
    """Return the head that a part of the corpus makes, and what it is worth on that part, out of `REPEATS` sets of folds."""
    # Where the threshold lies hangs on a dozen mails: how folds fall matters less where they fall several times.
    scores = np.concatenate([out_of_fold(corpus, part, repeat) for repeat in range(REPEATS)])
    spam = np.tile(corpus.spam[part], REPEATS)
    slope, shift = calibrated(scores, spam)
    said = sigmoid(slope * scores + shift)
    highest = np.quantile(said[spam == 0], 1 - MOST_HAM_CALLED_SPAM, method="higher")
    threshold = max(0.5, float(np.nextafter(highest, np.inf)))  # that mail itself is not called spam
    known, weights = _fitted(corpus, part)
    keys = np.array([key(corpus.words[word]) for word in known], np.uint64)
    order = np.argsort(keys)
    head = SpamHead(
        keys=keys[order],
        words=weights[: len(known)][order].astype(np.float32),
        form=weights[len(known) : len(known) + len(FORM)].astype(np.float32),
        vector=weights[-1 - WIDTH : -1].astype(np.float32),
        scale=np.array([weights[-1], slope, shift, threshold]),
    )
    return head, spam_measures(said, spam, threshold)


def out_of_fold(corpus: Corpus, part: Indices, repeat: int = 0) -> Doubles:
    """Return the score of each mail of `part` by weights that were fitted without its fold, [part].

    Each `repeat` draws other folds.
    """
    # Folds hold whole clusters, as the parts do: each is a held-out share of what the ones before left.
    fold = np.zeros(len(part), np.int64)
    for number in range(1, FOLDS):
        rest = fold == 0
        chosen = held_out(corpus.clusters[part], corpus.names, 1 / (FOLDS - number + 1), FOLDS * repeat + number)
        fold[rest & chosen] = number
    scores = np.zeros(len(part))
    for number in range(FOLDS):
        known, weights = _fitted(corpus, part[fold != number])
        scores[fold == number] = _rows(corpus, part[fold == number], known).times(weights)
        _log.info("spam.fold", repeat=repeat + 1, of=REPEATS, fold=number + 1, folds=FOLDS, words=len(known))
    return scores


def _fitted(corpus: Corpus, part: Indices) -> tuple[Indices, Doubles]:
    """Return which words a part knows, ascending, and the weights of all columns."""
    rows, entries = corpus.entries(part)
    uses = np.unique(np.stack([entries, corpus.clusters[part][rows]]), axis=1)[0]
    known = np.flatnonzero(np.bincount(uses, minlength=len(corpus.words)) >= LEAST_CLUSTERS)
    blocks = ((len(FORM), FORM_PENALTY), (WIDTH, VECTOR_PENALTY), (1, 0.0))
    penalty = np.concatenate([_word_penalties(corpus, part, known), *(np.full(size, value) for size, value in blocks)])
    matrix, spam = _with_anchors(_rows(corpus, part, known), corpus, part)
    return known, fit(matrix, spam, penalty)


def _with_anchors(rows: Rows, corpus: Corpus, part: Indices) -> tuple[Rows, Doubles]:
    """Return rows and labels with the anchors among them, as good mails without words and of the form that such have."""
    count, spam = len(corpus.anchors), corpus.spam[part]
    form = np.tile(corpus.form[part][spam == 0].mean(0), (count, 1))
    anchors = np.concatenate([form, corpus.anchors, np.ones((count, 1))], 1)
    more = replace(rows, values=np.append(rows.values, np.zeros(count)), dense=np.concatenate([rows.dense, anchors]))
    return more, np.append(spam, np.zeros(count))


def _word_penalties(corpus: Corpus, part: Indices, known: Indices) -> Doubles:
    """Return each word's penalty: less for one that is much oftener in one class (NB-SVM: Wang and Manning 2012)."""
    rows, entries = corpus.entries(part)
    spam = corpus.spam[part][rows]
    in_spam, in_ham = (np.bincount(entries, weights, len(corpus.words))[known] + 1 for weights in (spam, 1 - spam))
    ratio = np.log((in_spam / in_spam.sum()) / (in_ham / in_ham.sum()))
    penalties: Doubles = WORDS_PENALTY / (ratio**2 + _EVEN)
    return penalties


def _rows(corpus: Corpus, part: Indices, known: Indices) -> Rows:
    """Return the columns of each mail: the words that are known, its form, its vector and an intercept."""
    column_of = np.full(len(corpus.words), -1, np.int64)
    column_of[known] = np.arange(len(known))
    rows, entries = corpus.entries(part)
    kept = column_of[entries] >= 0
    return Rows(
        rows=rows[kept],
        columns=column_of[entries[kept]],
        values=shares(np.bincount(rows[kept], minlength=len(part))),
        dense=np.concatenate([corpus.form[part], corpus.vectors[part], np.ones((len(part), 1))], 1, dtype=np.float64),
        width=len(known),
    )
