"""The timers of a service's partitions, by when they are due. Does no I/O and reads no clock."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone import slots

if TYPE_CHECKING:
    from schemas.records import Fire, Timer, TimerState


@dataclass(slots=True)
class Entry:
    """A timer and how far it got.

    Attributes:
        partition: where it lies.
        timer: its latest revision; None while only its state is known.
        last: the last slot that is accounted for; None if there is none yet.
        firing: what was decided of the slot after it and may not be done yet.
        busy: whether a slot of it is being fired right now.
    """

    partition: int
    timer: Timer | None = None
    last: int | None = None
    firing: Fire | None = None
    busy: bool = False

    @property
    def after(self) -> int:
        """The moment after which the timer's next slot lies."""
        if self.timer is None:
            return self.last or 0
        # A one-off that was past when it was made still fires, and a timer that was made anew owes nothing of the old one.
        made, at = self.timer.created_at, self.timer.at
        begin = (made if at is None else min(made, at)) - 1
        return begin if self.last is None else max(begin, self.last)

    def due(self) -> int | None:
        """Return when the next slot is to be fired."""
        if self.timer is None or self.busy:
            return None
        if self.firing is not None:
            return self.firing.slot
        return slots.next_due(self.timer, self.after) if self.timer.enabled else None


class TimerBook:
    """Which timer is due next.

    The heap holds an entry for each plan that was ever made; one that no longer holds (its timer was changed, accounted
    for or removed since, or its partition is still being read) is passed over as it comes up.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._heap: list[tuple[int, str]] = []
        self._loading: set[int] = set()

    def loading(self, partition: int) -> None:
        """Fire nothing of a partition until it is `loaded`: an older revision, or one removed since, may come first."""
        self._loading.add(partition)

    def loaded(self, partition: int) -> None:
        """Take up the timers of a partition that was read to its end."""
        self._loading.discard(partition)
        for timer_id, entry in self._entries.items():
            if entry.partition == partition:
                self._plan(timer_id, entry)

    def put(self, partition: int, timer: Timer) -> None:
        """Take a timer, or its new revision."""
        entry = self._entries.setdefault(timer.id, Entry(partition))
        entry.timer = timer
        self._plan(timer.id, entry)

    def restore(self, partition: int, state: TimerState) -> None:
        """Take how far a timer got before this service looked after it."""
        entry = self._entries.setdefault(state.id, Entry(partition))
        if entry.last is not None and state.last_slot < entry.last:
            return  # of a service that was stopped for a while and wrote it after its successor had gone on
        entry.last, entry.firing = state.last_slot, state.firing
        self._plan(state.id, entry)

    def remove(self, timer_id: str) -> None:
        """Forget a timer."""
        self._entries.pop(timer_id, None)

    def drop_partition(self, partition: int) -> None:
        """Forget what another service looks after now."""
        self._loading.discard(partition)
        for timer_id in [name for name, entry in self._entries.items() if entry.partition == partition]:
            self.remove(timer_id)

    def next_due(self) -> int | None:
        """Return when the next timer is due."""
        while self._heap:
            due, timer_id = self._heap[0]
            entry = self._entries.get(timer_id)
            if entry and entry.partition not in self._loading and entry.due() == due:
                return due
            heapq.heappop(self._heap)
        return None

    def take(self, now: int) -> tuple[Timer, Entry] | None:
        """Return a timer that is due; it is due no more until `give_back`."""
        due = self.next_due()
        if due is None or due > now:
            return None
        entry = self._entries[heapq.heappop(self._heap)[1]]
        if entry.timer is None:
            raise AssertionError("an entry without a timer is never due")
        entry.busy = True
        return entry.timer, entry

    def give_back(self, timer_id: str, entry: Entry) -> None:
        """Give a timer back that was taken: it is due again by how far it is accounted for now."""
        entry.busy = False
        if self._entries.get(timer_id) is entry:
            self._plan(timer_id, entry)

    def _plan(self, timer_id: str, entry: Entry) -> None:
        due = None if entry.partition in self._loading else entry.due()
        if due is not None:
            heapq.heappush(self._heap, (due, timer_id))
