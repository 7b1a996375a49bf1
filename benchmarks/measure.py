"""Small arithmetic that every benchmark shares: percentiles, spread over rounds, CPU time of processes."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def spread(rounds: Sequence[float]) -> float | None:
    """Return how far rounds lie apart, as a share of their median; None where one round was measured."""
    middle = statistics.median(rounds)
    if len(rounds) < 2 or not middle:
        return None
    return (max(rounds) - min(rounds)) / middle


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that these processes and what runs below them have used, in seconds."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total
