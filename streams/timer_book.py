"""The timers of a service's partitions, by when they are due. Does no I/O and reads no clock."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from streams import slots

if TYPE_CHECKING:
    from schemas.records import Timer


class TimerBook:
    """Which timer is due next.

    The heap holds a slot for each plan that was ever made; one that no longer holds (its timer was changed, removed or
    accounted for since) is passed over as it comes up.
    """

    def __init__(self) -> None:
        self._timers: dict[str, tuple[int, Timer]] = {}
        self._last: dict[str, int] = {}
        self._due: list[tuple[int, str, int]] = []

    def put(self, partition: int, timer: Timer) -> None:
        """Take a timer, or its new revision."""
        self._timers[timer.id] = (partition, timer)
        self._plan(timer)

    def remove(self, timer_id: str) -> None:
        """Forget a timer."""
        self._timers.pop(timer_id, None)
        self._last.pop(timer_id, None)

    def account(self, timer_id: str, slot: int) -> None:
        """Take note that a timer's slots up to this one are accounted for."""
        self._last[timer_id] = max(slot, self._last.get(timer_id, slot))
        if timer_id in self._timers:
            self._plan(self._timers[timer_id][1])

    def drop_partition(self, partition: int) -> None:
        """Forget what another service looks after now."""
        for timer_id in [i for i, (held, _) in self._timers.items() if held == partition]:
            self.remove(timer_id)

    def next_due(self) -> int | None:
        """Return the earliest slot."""
        while self._due:
            slot, timer_id, revision = self._due[0]
            held = self._timers.get(timer_id)
            if held and held[1].revision == revision and self._next(held[1]) == slot:
                return slot
            heapq.heappop(self._due)
        return None

    def pop_due(self, now: int) -> tuple[Timer, int] | None:
        """Return a timer that is due and its slot; it stays due until that is accounted for."""
        slot = self.next_due()
        if slot is None or slot > now:
            return None
        return self._timers[self._due[0][1]][1], slot

    def _plan(self, timer: Timer) -> None:
        slot = self._next(timer) if timer.enabled else None
        if slot is not None:
            heapq.heappush(self._due, (slot, timer.id, timer.revision))

    def _next(self, timer: Timer) -> int | None:
        # A one-off that was already due when it was made still fires: hence the ms before.
        return slots.next_slot(timer, self._last.get(timer.id, min(timer.created_at, timer.at or timer.created_at) - 1))
