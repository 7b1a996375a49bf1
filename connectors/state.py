"""Pure: what is known of a task or a schedule, folded from the records that speak of it.

A task's state keeps its first record, its latest event and its first terminal event, each chosen by its place in the
log. So folding is idempotent and knows no order: records may come twice, and an event before its task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.records import Fire, Task, TaskEvent, Timer
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FIRES = 100
"""Fires that a schedule's state keeps, the latest ones."""


class Place(msgspec.Struct, frozen=True):
    """Where a record lies; the topic's name has the prefix."""

    topic: str
    partition: int
    offset: int


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its first record has it, without its payload."""

    place: Place
    attempt: int
    created_at: int
    start_by: int
    deadline: int
    replay_of: str | None = None


class Happened(msgspec.Struct, frozen=True):
    """An event and its offset."""

    offset: int
    event: TaskEvent


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What every record of a task says alike."""

    key: str
    kind: str
    tier: Tier
    owner: str
    tenant: str
    root_id: str
    step: int
    conversation: str | None


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task.

    Attributes:
        accepted: from its first record; None as long as only events were read.
        last: the latest event that is not terminal.
        end: the first terminal event; nothing counts beside it.
    """

    id: str
    about: About
    accepted: Accepted | None = None
    last: Happened | None = None
    end: Happened | None = None

    @property
    def latest(self) -> TaskEvent | None:
        """The event that says what became of it so far."""
        happened = self.end or self.last
        return happened.event if happened else None

    @property
    def began(self) -> int:
        """The time from which the log may speak of it, in ms since the epoch."""
        known = [happened.event.at for happened in (self.last, self.end) if happened]
        return min([self.accepted.created_at] if self.accepted else known)

    def task(self) -> Task:
        """Return the task as far as events and outcomes need it: without its payload."""
        about, accepted, latest = self.about, self.accepted, self.latest
        return Task(
            id=self.id,
            key=about.key,
            kind=about.kind,
            tier=about.tier,
            owner=about.owner,
            tenant=about.tenant,
            root_id=about.root_id,
            step=about.step,
            conversation=about.conversation,
            attempt=latest.attempt if latest else 1,
            created_at=accepted.created_at if accepted else 0,
            start_by=accepted.start_by if accepted else 0,
            deadline=accepted.deadline if accepted else 0,
        )


def fold(state: TaskState | None, record: Task | TaskEvent, place: Place) -> TaskState:
    """Return the state with one more record taken into account.

    Args:
        state: what was known; None if nothing.
        record: a stamped task, or an event.
        place: where it lies.
    """
    if isinstance(record, Task):
        state = state or TaskState(id=record.id, about=_about(record))
        found = Accepted(
            place=place,
            attempt=record.attempt,
            created_at=record.created_at,
            start_by=record.start_by,
            deadline=record.deadline,
            replay_of=record.replay_of,
        )
        # A later attempt and a repeated submit are records of their own; the receipt names the first.
        if state.accepted is None or _first(found) < _first(state.accepted):
            return msgspec.structs.replace(state, accepted=found)
        return state
    state = state or TaskState(id=record.task_id, about=_about(record))
    happened = Happened(place.offset, record)
    if record.status.terminal:
        if state.end is None or place.offset < state.end.offset:
            return msgspec.structs.replace(state, end=happened)
    elif state.last is None or place.offset > state.last.offset:
        return msgspec.structs.replace(state, last=happened)
    return state


def _first(accepted: Accepted) -> tuple[int, str, int, int]:
    place = accepted.place
    return accepted.attempt, place.topic, place.partition, place.offset


def _about(record: Task | TaskEvent) -> About:
    if record.tier is None:
        raise ValueError("the task is not stamped: it has no tier")
    return About(
        key=record.key,
        kind=record.kind,
        tier=record.tier,
        owner=record.owner,
        tenant=record.tenant,
        root_id=record.root_id,
        step=record.step,
        conversation=record.conversation,
    )


class Fired(msgspec.Struct, frozen=True):
    """A fire and its offset."""

    offset: int
    fire: Fire


class TimerState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a schedule.

    Attributes:
        timer: its latest revision; None as long as only fires were read. It is kept once the timer is removed.
        place: where that revision lies.
        removed_at: offset of the tombstone, if one was read; a one-off is removed once it has fired.
        fires: by slot, the latest last, of each slot or range the first one; `accounted` tells what they come to.
    """

    id: str
    timer: Timer | None = None
    place: Place | None = None
    removed_at: int = -1
    fires: tuple[Fired, ...] = ()

    @property
    def active(self) -> bool:
        """Whether it is still to fire, as far as is known."""
        return self.timer is not None and self.place is not None and self.place.offset > self.removed_at


def fold_timer(state: TimerState | None, timer_id: str, record: Timer | Fire | None, place: Place) -> TimerState:
    """Return the state with one more record taken into account; None is a tombstone."""
    state = state or TimerState(id=timer_id)
    if record is None:
        return msgspec.structs.replace(state, removed_at=max(state.removed_at, place.offset))
    if isinstance(record, Timer):
        if state.place is None or place.offset > state.place.offset:
            return msgspec.structs.replace(state, timer=record, place=place)
        return state
    by_slots = {_slots(fired.fire): fired for fired in state.fires}
    known = by_slots.get(_slots(record))
    if known is None or place.offset < known.offset:
        by_slots[_slots(record)] = Fired(place.offset, record)
    latest = [by_slots[slots] for slots in sorted(by_slots)[-MAX_FIRES:]]
    return msgspec.structs.replace(state, fires=tuple(latest))


def accounted(fires: Iterable[Fired]) -> list[Fire]:
    """Return the fires by slot as readers keep them: each slot is told of by the first fire in the log that does.

    What was told of before is taken off the count of a range that has it among its slots. A fire of which nothing is
    left is left out.
    """
    single: dict[int, Fire] = {}
    ranges: list[tuple[int, int, Fire]] = []  # few, while single slots are many
    for fired in sorted(fires, key=lambda fired: fired.offset):
        first, last = _slots(fired.fire)
        if any(begin <= first and last <= end for begin, end, _ in ranges):
            continue
        if first == last:
            single.setdefault(first, fired.fire)
            continue
        known = sum(first <= slot <= last for slot in single)
        known += sum(fire.count for begin, end, fire in ranges if first <= begin and end <= last)
        if fired.fire.count > known:
            ranges.append((first, last, msgspec.structs.replace(fired.fire, count=fired.fire.count - known)))
    return sorted([*single.values(), *(fire for _, _, fire in ranges)], key=_slots)


def _slots(fire: Fire) -> tuple[int, int]:
    return fire.slot, fire.slot if fire.to_slot is None else fire.to_slot
