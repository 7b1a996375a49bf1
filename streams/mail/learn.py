"""Logistic regression on sparse rows, and the calibration of what it says, with numpy alone.

The objective is convex, so what L-BFGS (Liu and Nocedal 1989) finds does not depend on where it began: the same rows
give the same weights. Calibration is Platt's (1999): a slope and an intercept on scores of rows that were not learnt
from.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

_MEMORY = 10
"""Steps that L-BFGS remembers."""
_ENOUGH = 1e-7
"""Relative fall of the loss below which it stops."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Mails as a matrix: a wide sparse block, in which each entry of a row has the same value, and a dense one.

    Attributes:
        rows: the row of each sparse entry, int64 [entries].
        columns: its column, int64 [entries].
        values: of a row's sparse entries, float64 [rows].
        dense: the other columns, float64 [rows, columns].
        width: number of sparse columns.
    """

    rows: Ints
    columns: Ints
    values: Doubles
    dense: Doubles
    width: int

    def times(self, weights: Doubles) -> Doubles:
        """Return the product with a vector, [rows]: the sparse columns' weights come first."""
        sums = np.bincount(self.rows, weights[self.columns], len(self.values))
        return self.values * sums + self.dense @ weights[self.width :]

    def transposed_times(self, by_row: Doubles) -> Doubles:
        """Return the product of the transposed matrix with a vector, [columns]."""
        sparse = np.bincount(self.columns, (self.values * by_row)[self.rows], self.width)
        return np.concatenate([sparse, by_row @ self.dense])


def fit(rows: Rows, labels: Doubles, penalty: Doubles, *, steps: int = 300) -> Doubles:
    """Return the weights of the logistic regression that explains `labels` by `rows`.

    Args:
        rows: one a mail; a dense column of ones makes an intercept.
        labels: of each row, 1 or 0, or a probability between.
        penalty: of each column's squared weight, in rows; 0 for an intercept.
        steps: at most so many of the optimiser.
    """
    # In units of its penalty each column is as steep as the others, and the optimiser needs far fewer steps.
    free = penalty == 0
    unit = 1 / np.sqrt(np.where(free, 1, penalty))

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        scores = rows.times(weights * unit)
        kept = np.where(free, 0, weights)
        value = float(np.sum(np.logaddexp(0, scores) - labels * scores) + kept @ kept / 2)
        return value, rows.transposed_times(sigmoid(scores) - labels) * unit + kept

    return _minimised(loss, np.zeros(len(penalty)), steps) * unit


def calibrated(scores: Doubles, labels: Doubles) -> tuple[float, float]:
    """Return slope and intercept that make probabilities of scores (Platt 1999, with his smoothed targets)."""
    ones, count = labels.sum(), len(labels)
    targets = np.where(labels > 0, (ones + 1) / (ones + 2), 1 / (count - ones + 2))
    none = np.zeros(0, np.int64)
    rows = Rows(none, none, np.zeros(count), np.stack([scores, np.ones(count)], 1), 0)
    slope, intercept = fit(rows, targets, np.zeros(2)).tolist()
    return slope, intercept


def sigmoid(scores: Doubles) -> Doubles:
    """Return the logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -scores))


def _minimised(loss: Callable[[Doubles], tuple[float, Doubles]], start: Doubles, steps: int) -> Doubles:
    """Return where `loss` is least, by L-BFGS with a backtracking line search (Armijo 1966)."""
    here, (value, slope) = start, loss(start)
    moves: deque[tuple[Doubles, Doubles]] = deque(maxlen=_MEMORY)
    for _ in range(steps):
        direction = -_bent(slope, moves)
        falls, length = float(slope @ direction), 1.0 if moves else 1 / (1 + float(np.linalg.norm(slope)))
        while True:
            there = here + length * direction
            next_value, next_slope = loss(there)
            if next_value <= value + 1e-4 * length * falls:
                break
            length /= 2
            if length < 1e-12:
                return here
        move, change = there - here, next_slope - slope
        if move @ change > 1e-12:
            moves.append((move, change))
        gained = value - next_value
        here, value, slope = there, next_value, next_slope
        if gained <= _ENOUGH * max(1.0, abs(value)):
            break
    return here


def _bent(slope: Doubles, moves: deque[tuple[Doubles, Doubles]]) -> Doubles:
    """Return the slope times an estimate of the inverse Hessian: the two-loop recursion."""
    bent, shares = slope.copy(), []
    for move, change in reversed(moves):
        share = (move @ bent) / (move @ change)
        bent -= share * change
        shares.append(share)
    if moves:
        move, change = moves[-1]
        bent *= (move @ change) / (change @ change)
    for (move, change), share in zip(moves, reversed(shares), strict=True):
        bent += (share - (change @ bent) / (move @ change)) * move
    return bent
