"""Why a mail was called what it was called: the phrases that moved a label most, with how far they moved it.

No second model explains the first: each figure is a term of the sum that made the label. A token's part in a nearness is
known because a text's vector is the mean of its tokens' vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.mail.labels import Floats
    from streams.mail.model import Encoded

MOST = 5
"""Reasons that are given for a label."""
_LONGEST = 6
"""Words of a phrase of the text."""
_PHRASES = 3
_LEAST = 0.1
"""What moves a label by less is not told."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A phrase and what it did.

    Attributes:
        phrase: words of the mail, or in words what was seen in its form.
        weight: what it added to the label's logit.
    """

    phrase: str
    weight: float


def strongest(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return the few that did most for the label, the strongest first, each phrase once with all that it did."""
    sums: dict[str, float] = {}
    for reason in reasons:
        sums[reason.phrase] = sums.get(reason.phrase, 0.0) + reason.weight
    told = (Reason(phrase, round(weight, 2)) for phrase, weight in sums.items() if weight >= _LEAST)
    return tuple(sorted(told, key=lambda reason: (-reason.weight, reason.phrase))[:MOST])


def nearest_phrases(encoded: Encoded, direction: Floats) -> list[Reason]:
    """Return the stretches of a text that lie most in a direction, float32 [384], none within another."""
    begins, ends, weights = _words(encoded, encoded.tokens @ direction)
    totals = np.concatenate([[0.0], np.cumsum(weights)])
    stretches = sorted(
        (
            (float(totals[last] - totals[first]), first, last)
            for first in range(len(weights))
            for last in range(first + 1, min(first + _LONGEST, len(weights)) + 1)
        ),
        reverse=True,
    )
    taken: list[tuple[int, int]] = []
    reasons: list[Reason] = []
    for weight, first, last in stretches:
        if weight < _LEAST or len(taken) == _PHRASES:
            break
        if all(last <= begin or first >= end for begin, end in taken):
            taken.append((first, last))
            reasons.append(Reason(encoded.text[begins[first] : ends[last - 1]].strip(" .,;:"), weight))
    return reasons


def _words(encoded: Encoded, weights: Floats) -> tuple[list[int], list[int], list[float]]:
    """Return where each word of the text begins and ends, and the sum over its tokens."""
    begins: list[int] = []
    ends: list[int] = []
    sums: list[float] = []
    for (begin, end), weight in zip(encoded.spans, weights.tolist(), strict=True):
        if begin == end:
            continue  # a mark of the model's, no text
        if ends and begin == ends[-1]:
            ends[-1] = end
            sums[-1] += weight
        else:
            begins.append(begin)
            ends.append(end)
            sums.append(weight)
    return begins, ends, sums
