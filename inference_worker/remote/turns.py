"""Pure: who may ask the model's server next: by tier, a fifth kept for urgent, fair between owners, low not starved.

It is `admission` for a model whose steps are elsewhere: what runs there can't be paused, so urgent finds room only where
it is kept free; and of twenty that begin while low waits, one is low's.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from inference_worker.admission import LOW_EVERY
from inference_worker.kv_cache import LOW, URGENT, reserve
from inference_worker.waiting import Line, Waiting
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ranked(Waiting, Protocol):
    """What may wait for its turn.

    Attributes:
        rank: of its tier, 0 goes first.
    """

    rank: int


T = TypeVar("T", bound=Ranked)


class Turns(Generic[T]):
    """Those that wait, and how many run."""

    def __init__(self, slots: int) -> None:
        """Begin with nobody.

        Args:
            slots: how many may run at once.
        """
        self._slots = slots
        self._lines: list[Line[T]] = [Line() for _ in Tier]
        self._running = [0] * len(Tier)
        self._numbers = count(1)
        self._low_passed_over = 0

    def add(self, one: T) -> None:
        """Let somebody wait."""
        one.number = next(self._numbers)
        self._lines[one.rank].add(one)

    def leave(self, one: T) -> None:
        """Let go of somebody who waits or runs."""
        self._lines[one.rank].leave(one, held=one.started)
        if one.started:
            self._running[one.rank] -= 1

    def spoke(self, one: T, tokens: int) -> None:
        """Note that somebody who runs was served so many tokens."""
        self._lines[one.rank].charge(one, tokens)

    def begin(self) -> Iterator[T]:
        """Yield those who may run from now on, in order."""
        while (one := self._first()) is not None:
            self._lines[one.rank].took(one)
            one.started = True
            self._running[one.rank] += 1
            self._low_passed_over = 0 if one.rank == LOW or not self._lines[LOW] else self._low_passed_over + 1
            yield one

    def _first(self) -> T | None:
        of_low = self._lines[LOW].first()
        # The place that realtime may borrow of the reserve serves it too: else a flood of realtime would starve it.
        if of_low is not None and self._low_passed_over >= LOW_EVERY - 1 and self._fits(Tier.REALTIME.rank):
            return of_low
        for rank, line in enumerate(self._lines):
            if (one := line.first()) is not None:
                return one if self._fits(rank) else None
        return None

    def _fits(self, rank: int) -> bool:
        below_urgent = sum(self._running[URGENT + 1 :])
        free = sum(self._running) < self._slots
        return free and (rank == URGENT or below_urgent < self._slots - reserve(self._slots, rank))
