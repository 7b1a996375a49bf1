"""Pure: what the topics say, folded record by record by a reader that shares no code with the projection.

`promises.py` holds it against what was asked for. The first terminal event of a task and the first Fire of a slot count,
as the contract has it; what comes after them is counted, and must be the same.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from backbone import slots
from backbone.ids import derived_id
from schemas.records import DeadLetter, Fire, FireOutcome, Task, TaskEvent, Timer, TimerState
from schemas.topics import TIMERS, TIMERS_STATE, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec

Place = tuple[str, int, int]
"""Topic (with its prefix), partition and offset of a message."""


class Entry(NamedTuple):
    """A record as it lies in a topic; None is a tombstone."""

    topic: Topic
    offset: int
    key: str
    record: msgspec.Struct | None


@dataclass
class Ledger:
    """What was read so far.

    Attributes:
        tasks: the records of each task, by its id.
        ends: the terminal events of each task, in the order of the log.
        attempts: the highest attempt that any record of a task speaks of.
        begun_at: the topic of each task's first record, and its offset.
        ended_at: the offset of each task's first terminal event.
        letters: the dead letters of each task.
        unread: the places of what could not be read, of which a dead letter tells.
        timers: the latest revision of each timer, removed ones included.
        live: the timers that are still to fire.
        states: the timers of which a state is kept.
        fires: the Fires of each timer, in the order of the log.
    """

    tasks: dict[str, list[Task]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[str, list[TaskEvent]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    begun_at: dict[str, tuple[Topic, int]] = field(default_factory=dict)
    ended_at: dict[str, int] = field(default_factory=dict)
    letters: dict[str, list[DeadLetter]] = field(default_factory=lambda: defaultdict(list))
    unread: list[Place] = field(default_factory=list)
    timers: dict[str, Timer] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    states: set[str] = field(default_factory=set)
    fires: dict[str, list[Fire]] = field(default_factory=lambda: defaultdict(list))

    def add(self, entry: Entry) -> None:
        """Take one more record; those of one key come in the order of the log."""
        match entry.record:
            case Task() as task:
                self.tasks[task.id].append(task)
                self.begun_at.setdefault(task.id, (entry.topic, entry.offset))
                self._attempt(task.id, task.attempt)
            case TaskEvent() as event:
                self._attempt(event.task_id, event.attempt)
                if event.status.terminal:
                    self.ends[event.task_id].append(event)
                    self.ended_at.setdefault(event.task_id, entry.offset)
            case DeadLetter() as letter:
                self._letter(letter)
            case Timer() as timer:
                self.timers[timer.id] = timer
                self.live.add(timer.id)
            case TimerState() as state:
                self.states.add(state.id)
            case Fire() as fire:
                self.fires[fire.timer_id].append(fire)
            case None if entry.topic is TIMERS:
                self.live.discard(entry.key)
            case None if entry.topic is TIMERS_STATE:
                self.states.discard(entry.key)

    def _attempt(self, task_id: str, attempt: int) -> None:
        self.attempts[task_id] = max(self.attempts[task_id], attempt)

    def _letter(self, letter: DeadLetter) -> None:
        if letter.task is not None:
            self.letters[letter.task.id].append(letter)
        elif letter.topic is not None and letter.partition is not None and letter.offset is not None:
            self.unread.append((letter.topic, letter.partition, letter.offset))

    def end(self, task_id: str) -> TaskEvent | None:
        """Return how a task ended: its first terminal event."""
        ends = self.ends.get(task_id)
        return ends[0] if ends else None

    def told(self, timer_id: str) -> dict[int, Fire]:
        """Return what became of each slot of a timer: the first Fire that tells of it."""
        told: dict[int, Fire] = {}
        for fire in self.fires.get(timer_id, ()):
            for slot in self._slots(fire):
                told.setdefault(slot, fire)
        return told

    def fires_again(self, timer_id: str) -> int:
        """Return how many Fires of a timer tell of no slot that wasn't told of before."""
        known: set[int] = set()
        again = 0
        for fire in self.fires.get(timer_id, ()):
            slots_told = set(self._slots(fire))
            again += slots_told <= known
            known |= slots_told
        return again

    def contradictions(self, timer_id: str) -> list[tuple[int, Fire]]:
        """Return the slots of a timer of which a later Fire tells otherwise; readers pass it over."""
        told = self.told(timer_id)
        return [
            (slot, fire)
            for fire in self.fires.get(timer_id, ())
            for slot in self._slots(fire)
            if (told[slot].outcome is FireOutcome.SKIPPED) is not (fire.outcome is FireOutcome.SKIPPED)
        ]

    def _slots(self, fire: Fire) -> Iterator[int]:
        if fire.to_slot is None:
            yield fire.slot
            return
        for slot in slots.slots_after(self.timers[fire.timer_id], fire.slot - 1):
            if slot > fire.to_slot:
                return
            yield slot

    def made_by(self, timer_id: str) -> dict[int, str]:
        """Return the task that a timer has to make, or to make again, at each slot that it fired."""
        task = self.timers[timer_id].template.task
        if task is None:
            return {}
        return {
            slot: task.id or derived_id(timer_id, slot)
            for slot, fire in self.told(timer_id).items()
            if fire.outcome is not FireOutcome.SKIPPED
        }
