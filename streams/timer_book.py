"""The timers of a service's partitions, by when they are due. Does no I/O and reads no clock."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from backbone import slots
from streams.timer_steps import FORGET

if TYPE_CHECKING:
    from schemas.records import Fire, Timer, TimerState


@dataclass(slots=True, eq=False)
class Entry:
    """A timer and how far it got.

    Attributes:
        id: the timer's.
        partition: where it lies.
        timer: its latest revision; None while only its state is known, as of one that was removed.
        last: the last slot that is accounted for; None if there is none yet.
        firing: what was decided of the slot after it and may not be done yet.
        stored: whether `timers.state` says something of it.
        unread: whether its latest record could not be read, so that nothing follows from having none.
        busy: whether it is being fired, or forgotten, right now.
        plan: number of the heap's entry that holds for it; 0 for none.
        planned: when it is due, or was as it was taken.
    """

    id: str
    partition: int
    timer: Timer | None = None
    last: int | None = None
    firing: Fire | None = None
    stored: bool = False
    unread: bool = False
    busy: bool = False
    plan: int = 0
    planned: int = 0

    @property
    def after(self) -> int:
        """The moment after which the timer's next slot lies."""
        if self.timer is None:
            return self.last or 0
        at = self.timer.at
        if at is not None:  # it fires even if that was past when it was made
            return at if self.last == at else at - 1
        begin = self.timer.created_at - 1  # a timer that was made anew owes nothing of the old one
        return begin if self.last is None else max(begin, self.last)

    def due(self) -> int | None:
        """Return when there is something to be done of it."""
        if self.timer is None:
            return FORGET if self.stored and not self.unread else None
        return slots.next_due(self.timer, self.after) if self.firing is None else self.firing.slot


FEW = 1000
"""Plans that no longer hold and don't matter."""


class TimerBook:
    """Which timer is due next.

    The heap holds an entry for each plan that was made; one that no longer holds (its timer was changed, accounted for or
    removed since) is passed over as it comes up, or thrown out with all the others once they are the most.
    """

    def __init__(self) -> None:
        self._partitions: dict[int, dict[str, Entry]] = {}
        self._heap: list[tuple[int, int, Entry]] = []
        self._loading: set[int] = set()
        self._numbers = count(1)

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._partitions.values())

    def loading(self, partition: int) -> None:
        """Fire nothing of a partition until it is `loaded`: an older revision, or one removed since, may come first."""
        self._loading.add(partition)

    def loaded(self, partition: int) -> None:
        """Take up the timers of a partition that was read to its end."""
        self._loading.discard(partition)
        for entry in list(self._partitions.get(partition, {}).values()):
            self._plan(entry)

    def put(self, partition: int, timer: Timer) -> None:
        """Take a timer, or its new revision."""
        entry = self._entry(partition, timer.id)
        entry.timer, entry.unread = timer, False
        self._plan(entry)

    def put_unread(self, partition: int, timer_id: str) -> None:
        """Know that there is a timer whose latest record can't be read: the one before it counts."""
        self._entry(partition, timer_id).unread = True

    def remove(self, partition: int, timer_id: str) -> None:
        """Forget a timer; its state, if there is one, is due to be removed at once."""
        entry = self._partitions.get(partition, {}).get(timer_id)
        if entry is not None:
            entry.timer, entry.unread = None, False
            self._plan(entry)

    def restore(self, partition: int, state: TimerState) -> None:
        """Take how far a timer got before this service looked after it."""
        entry = self._entry(partition, state.id)
        entry.stored = True
        if entry.last is not None and (state.last_slot, entry.firing is None) <= (entry.last, False):
            return  # of a service that was stopped for a while and wrote it after its successor had gone on
        entry.last, entry.firing = state.last_slot, state.firing
        self._plan(entry)

    def forget_state(self, partition: int, timer_id: str) -> None:
        """Know that `timers.state` says nothing of a timer any more."""
        entry = self._partitions.get(partition, {}).get(timer_id)
        if entry is not None:
            entry.last, entry.firing, entry.stored = None, None, False
            self._plan(entry)

    def drop_partition(self, partition: int) -> None:
        """Leave a partition to another service."""
        self._loading.discard(partition)
        for entry in self._partitions.pop(partition, {}).values():
            entry.plan = 0

    def next_due(self) -> int | None:
        """Return when the next timer is due."""
        while self._heap:
            due, number, entry = self._heap[0]
            if entry.plan == number:
                return due
            heapq.heappop(self._heap)
        return None

    def take(self, now: int, most: int) -> list[Entry]:
        """Return at most so many timers that are due; they are due no more until `give_back`."""
        taken: list[Entry] = []
        while len(taken) < most and (due := self.next_due()) is not None and due <= now:
            entry = heapq.heappop(self._heap)[2]
            entry.busy, entry.plan = True, 0
            taken.append(entry)
        return taken

    def give_back(self, entry: Entry) -> None:
        """Give a timer back that was taken: it is due again by how far it is accounted for now."""
        entry.busy = False
        if self._partitions.get(entry.partition, {}).get(entry.id) is entry:
            self._plan(entry)

    def _entry(self, partition: int, timer_id: str) -> Entry:
        entries = self._partitions.setdefault(partition, {})
        entry = entries.get(timer_id)
        if entry is None:
            entry = entries[timer_id] = Entry(timer_id, partition)
        return entry

    def _plan(self, entry: Entry) -> None:
        entry.plan = 0
        if entry.busy or entry.partition in self._loading:
            return
        if entry.timer is None and not entry.stored and not entry.unread:
            del self._partitions[entry.partition][entry.id]
            return
        due = entry.due()
        if due is not None:
            entry.plan, entry.planned = next(self._numbers), due
            heapq.heappush(self._heap, (due, entry.plan, entry))
            if len(self._heap) > 2 * len(self) + FEW:
                self._heap = [plan for plan in self._heap if plan[2].plan == plan[1]]
                heapq.heapify(self._heap)
