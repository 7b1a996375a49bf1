"""How right labels are: confusion matrices, and how far probabilities can be taken at their word."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.mail.learn import Doubles

BINS = 10


class Confusion(msgspec.Struct, frozen=True):
    """How often each label was called which.

    Attributes:
        labels: of rows and columns.
        counts: a row for what a mail is, a column for what it was called.
        accuracy: share of mails that were called right.
        macro_f1: mean over the labels of the harmonic mean of precision and recall.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    accuracy: float
    macro_f1: float


class Bin(msgspec.Struct, frozen=True):
    """Mails whose probability lies between two tenths.

    Attributes:
        above: where the bin begins.
        mails: how many they are.
        said: their mean probability.
        were: the share of them that are spam.
    """

    above: float
    mails: int
    said: float
    were: float


class SpamMeasures(msgspec.Struct, frozen=True):
    """What a spam head is worth.

    Attributes:
        mails: how many were judged.
        accuracy: share of mails that were called right at the threshold.
        ham_called_spam: share of ham.
        spam_called_ham: share of spam.
        threshold: of the probability.
        confusion: at that threshold.
        brier: mean squared distance of the probability from what is.
        calibration_error: mean distance of `said` from `were` over the bins, weighted by their mails (ECE).
        bins: the reliability of the probabilities.
    """

    mails: int
    accuracy: float
    ham_called_spam: float
    spam_called_ham: float
    threshold: float
    confusion: Confusion
    brier: float
    calibration_error: float
    bins: tuple[Bin, ...]


def confusion(labels: Sequence[str], are: Sequence[str], called: Sequence[str]) -> Confusion:
    """Return how often each of `labels` was called which."""
    pairs = Counter(zip(are, called, strict=True))
    counts = np.array([[pairs[row, column] for column in labels] for row in labels])
    right = np.diag(counts)
    both = counts.sum(0) + counts.sum(1)
    scores = 2 * right[both > 0] / both[both > 0]
    return Confusion(
        labels=tuple(labels),
        counts=tuple(tuple(row) for row in counts.tolist()),
        accuracy=_short(right.sum() / max(1, counts.sum())),
        macro_f1=_short(scores.mean() if len(scores) else 0.0),
    )


def spam_measures(said: Doubles, are: Doubles, threshold: float) -> SpamMeasures:
    """Return what probabilities are worth.

    Args:
        said: the probability of each mail, [mails].
        are: 1 for spam and 0 for ham, [mails].
        threshold: at which a mail is called spam.
    """
    called = said >= threshold
    names = np.array(["ham", "spam"])
    bins = tuple(_bin(said, are, number) for number in range(BINS))
    return SpamMeasures(
        mails=len(said),
        accuracy=_short(np.mean(called == are)),
        ham_called_spam=_short(called[are == 0].mean() if np.any(are == 0) else 0.0),
        spam_called_ham=_short(1 - called[are == 1].mean() if np.any(are == 1) else 0.0),
        threshold=_short(threshold),
        confusion=confusion(["ham", "spam"], names[are.astype(int)].tolist(), names[called.astype(int)].tolist()),
        brier=_short(np.mean((said - are) ** 2)),
        calibration_error=_short(sum(each.mails * abs(each.said - each.were) for each in bins) / len(said)),
        bins=bins,
    )


def _bin(said: Doubles, are: Doubles, number: int) -> Bin:
    inside = np.minimum((said * BINS).astype(int), BINS - 1) == number
    means = [_short(values[inside].mean()) if inside.any() else 0.0 for values in (said, are)]
    return Bin(number / BINS, int(inside.sum()), *means)


def _short(figure: float | np.floating[Any]) -> float:
    return round(float(figure), 4)
