"""Pure: how long what a fault hit stood still, as a reader of the topics sees it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.faults import EDGE, KAFKA, VALKEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.faults import Struck

WINDOW_SECONDS = 30.0
"""For how long after a fault a silence is put down to it."""


class Sign(NamedTuple):
    """A sign of life as a reader of the topics got it.

    Attributes:
        source: the tier of a task that ended, the worker of one that asked the model, or `timers` for a Fire.
        partition: where it was read.
        worker: who wrote it.
        made_at: the record's timestamp, in seconds since the epoch.
        at: when it was read.
    """

    source: str
    partition: int
    worker: str
    made_at: float
    at: float


class Stillness(NamedTuple):
    """How long what a fault hit gave no sign.

    Attributes:
        outage: seconds from the fault to the first sign that was made after it; None if there was none.
        pause: the longest silence of what it hit, from the fault on, within `WINDOW_SECONDS`.
    """

    outage: float | None
    pause: float


def stillness(struck: Struck, signs: Sequence[Sign]) -> Stillness:
    """Return how long what a fault hit stood still.

    What a fault of a worker hit are the partitions for which that process spoke last; of a server, all of them.

    Args:
        struck: the fault.
        signs: of the whole run, in the order in which they were read.
    """
    process = struck.fault.process
    source = None if process in {KAFKA, VALKEY, EDGE} else process.removeprefix("streams-")
    mine = [sign for sign in signs if source is None or sign.source == source]
    last = {sign.partition: sign.worker for sign in mine if sign.at < struck.at}
    hit = {partition for partition, worker in last.items() if worker.endswith(f":{struck.pid}")}
    after = [
        sign.at - struck.at
        for sign in mine
        if sign.at >= struck.at and sign.made_at >= struck.at and (not hit or sign.partition in hit)
    ]
    within = [0.0, *(seconds for seconds in after if seconds <= WINDOW_SECONDS)]
    if after and after[0] > WINDOW_SECONDS:
        within.append(after[0])
    return Stillness(after[0] if after else None, max((b - a for a, b in pairwise(within)), default=0.0))
