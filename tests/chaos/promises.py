"""Pure: what was asked for, and each promise of the contract held against what the topics say.

`owed` follows what was accepted to all that has to come of it: the steps of a chain, the tasks of a timer's slots.
`broken` returns which promise was not kept, to which task or timer, and what was found instead; nothing is the aim.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from backbone import slots
from schemas.records import FireOutcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.records import DeadLetter, Task, TaskEvent
    from tests.chaos.ledger import Ledger, Place

SUCCEEDS = frozenset({Status.SUCCEEDED})


class Broken(NamedTuple):
    """A promise that was not kept."""

    promise: str
    of: str
    found: str


class Shown(NamedTuple):
    """What the edge shows of a task: its status and the id of what follows it."""

    status: str
    following: str | None


@dataclass(frozen=True, slots=True)
class Promised:
    """A task that was accepted.

    Attributes:
        kinds: of the task and of each step that may follow.
        ends: how each of them may end; a chain that goes on has more of them.
        says: what each of them says where it succeeds; None is anything.
    """

    kinds: tuple[str, ...]
    ends: tuple[frozenset[Status], ...]
    says: tuple[str | None, ...]


@dataclass
class Asked:
    """All that was accepted.

    Attributes:
        tasks: by id.
        maybe: ids of tasks of which nobody said that they were accepted, but which may have been.
        timers: until when (ms since the epoch) each timer's slots are to be accounted for.
        garbage: where there is something that is no task.
        cancelled: ids of tasks, or steps of theirs, that the edge said were cancelled.
        refused: what was never accepted, and the answer.
    """

    tasks: dict[str, Promised] = field(default_factory=dict)
    maybe: set[str] = field(default_factory=set)
    timers: dict[str, int] = field(default_factory=dict)
    garbage: list[Place] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def owed(ledger: Ledger, asked: Asked) -> set[str]:
    """Return the ids of all tasks that have to end: what was accepted, what timers made, and the steps that follow."""
    ids = set(asked.tasks)
    for timer_id in asked.timers.keys() & ledger.timers.keys():
        ids.update(ledger.made_by(timer_id).values())
    ids.update(asked.maybe & ledger.tasks.keys())
    to_follow = list(ids)
    while to_follow:
        end = ledger.end(to_follow.pop())
        if end is not None and end.next_id is not None and end.next_id not in ids:
            ids.add(end.next_id)
            to_follow.append(end.next_id)
    return ids


def unfinished(ledger: Ledger, asked: Asked) -> set[str]:
    """Return the ids of tasks that have yet to end, and of timers that have yet to fire or to be forgotten."""
    return {identity for identity in owed(ledger, asked) if ledger.end(identity) is None} | ledger.live


def broken(ledger: Ledger, asked: Asked, shown: Mapping[str, Shown]) -> list[Broken]:
    """Return every promise that was not kept.

    Args:
        ledger: of all topics, from their beginnings.
        asked: what was accepted.
        shown: what the edge shows of tasks, by id.
    """
    ids = owed(ledger, asked)
    return [
        *(Broken("what is asked for is accepted", name, answer) for name, answer in asked.refused),
        *_ended(ledger, ids),
        *_one_end(ledger),
        *_as_expected(ledger, asked),
        *_in_order(ledger),
        *_nothing_from_nowhere(ledger, ids),
        *_cancelled(ledger, asked),
        *_slots(ledger, asked),
        *_letters(ledger, asked),
        *_nothing_left(ledger),
        *_projection(ledger, ids, shown),
    ]


def _ended(ledger: Ledger, ids: set[str]) -> Iterator[Broken]:
    for identity in sorted(ids):
        if ledger.end(identity) is None:
            records = ledger.tasks.get(identity)
            what = (
                f"{records[0].kind} of {records[0].tier}, attempt {ledger.attempts[identity]}" if records else "no task"
            )
            yield Broken("each task ends", identity, f"no terminal event ({what})")


def _one_end(ledger: Ledger) -> Iterator[Broken]:
    for identity, ends in ledger.ends.items():
        others = [end for end in ends if end != ends[0]]
        if others:
            yield Broken("a task ends once", identity, f"{_short(ends[0])} and then {_short(others[0])}")


def _as_expected(ledger: Ledger, asked: Asked) -> Iterator[Broken]:
    for identity, promised in asked.tasks.items():
        yield from _chain(ledger, identity, promised)
    for timer_id in asked.timers.keys() & ledger.timers.keys():
        template = ledger.timers[timer_id].template.task
        for identity in ledger.made_by(timer_id).values():
            if template is not None:
                yield from _chain(ledger, identity, Promised((template.kind,), (SUCCEEDS,), (None,)))


def _chain(ledger: Ledger, root: str, promised: Promised) -> Iterator[Broken]:
    """Follow a chain: each step in its place, no further than it may go, and no shorter."""
    identity, parent = root, None
    steps = zip(promised.kinds, promised.ends, promised.says, strict=True)
    for step, (kind, allowed, says) in enumerate(steps):
        end = ledger.end(identity)
        if end is None:
            return  # told of by `_ended`
        if (end.kind, end.step, end.root_id) != (kind, step, root):
            yield Broken("a step has its place", identity, f"{end.kind} as step {end.step} of {end.root_id}")
        for record in ledger.tasks.get(identity, ()):
            if (record.kind, record.step, record.root_id, record.parent_id) != (kind, step, root, parent):
                yield Broken("a step has its place", identity, f"{record.kind} after {record.parent_id}")
        if end.status not in allowed:
            yield Broken("a task ends as it has to", identity, f"{_short(end)}, not {' or '.join(sorted(allowed))}")
        if says is not None and end.status is Status.SUCCEEDED and _said(end) != says:
            yield Broken("a step gets what the one before it said", identity, f"it says {_said(end)!r}, not {says!r}")
        goes_on = end.status is Status.SUCCEEDED and step + 1 < len(promised.ends)
        if goes_on is not (end.next_id is not None):
            yield Broken("a chain is followed to its end", identity, f"{_short(end)}, next {end.next_id}")
        if end.next_id is None:
            return
        identity, parent = end.next_id, identity


def _in_order(ledger: Ledger) -> Iterator[Broken]:
    """Hold the ends of first attempts against the order in which their tasks lie; who was cancelled did not wait."""
    by_key = defaultdict(list)
    for identity, (topic, offset) in ledger.begun_at.items():
        end = ledger.end(identity)
        if end is not None and end.attempt == 1 and end.status in {Status.SUCCEEDED, Status.FAILED}:
            by_key[topic, end.key].append((offset, identity))
    for tasks in by_key.values():
        in_line = [identity for _, identity in sorted(tasks)]
        for before, after in pairwise(in_line):
            if ledger.ended_at[after] < ledger.ended_at[before]:
                yield Broken("first attempts of a key run in order", after, f"it overtook {before}")


def _nothing_from_nowhere(ledger: Ledger, ids: set[str]) -> Iterator[Broken]:
    for identity in sorted((ledger.tasks.keys() | ledger.ends.keys()) - ids):
        kinds = {record.kind for record in ledger.tasks.get(identity, ())}
        yield Broken("nothing comes from nowhere", identity, f"{', '.join(kinds) or 'an end'} that nobody asked for")
    for timer_id in sorted(ledger.fires.keys() - ledger.timers.keys()):
        yield Broken("nothing comes from nowhere", timer_id, "Fires of a timer that there never was")


def _cancelled(ledger: Ledger, asked: Asked) -> Iterator[Broken]:
    for identity in asked.cancelled:
        end = ledger.end(identity)
        if end is not None and end.status is not Status.CANCELLED:
            yield Broken("what was cancelled stays so", identity, _short(end))


def _slots(ledger: Ledger, asked: Asked) -> Iterator[Broken]:
    for timer_id in sorted(asked.timers.keys() - ledger.timers.keys()):
        yield Broken("each slot has one Fire", timer_id, "no such timer")
    for timer_id, timer in ledger.timers.items():
        told = ledger.told(timer_id)
        if timer.at is not None:
            due = [timer.at]
        else:
            until = max([asked.timers.get(timer_id, 0), *told])
            due = list(takewhile(lambda slot: slot <= until, slots.slots_after(timer, timer.created_at - 1)))  # noqa: B023
        missing = [slot for slot in due if slot not in told]
        if missing:
            yield Broken("each slot has one Fire", timer_id, f"none of {len(missing)} slots, the first {missing[0]}")
        strange = sorted(told.keys() - set(due))
        if strange:
            yield Broken("each slot has one Fire", timer_id, f"Fires of {len(strange)} that are none: {strange[0]}")
        made = ledger.made_by(timer_id)
        for slot, fire in told.items():
            wanted = made.get(slot)
            if fire.task_id != wanted:
                yield Broken("a Fire names its task", timer_id, f"{slot} names {fire.task_id}, not {wanted}")
            elif wanted is not None and wanted not in ledger.tasks:
                yield Broken("a slot that fires makes its task", timer_id, f"{slot} made no {wanted}")
        for fire in ledger.fires.get(timer_id, ()):
            if (fire.outcome is FireOutcome.SKIPPED) is not (fire.reason is not None):
                yield Broken("a slot that is skipped has a reason", timer_id, f"{fire.slot}: {fire.reason}")


def _letters(ledger: Ledger, asked: Asked) -> Iterator[Broken]:
    failed = {identity for identity in ledger.ends if _status(ledger.end(identity)) is Status.FAILED}
    for identity in sorted(failed - ledger.letters.keys()):
        yield Broken("a failure has its dead letter", identity, "none")
    for identity in sorted(ledger.letters.keys() - failed):
        end = ledger.end(identity)
        yield Broken("a dead letter has its failure", identity, _short(end) if end else "no end")
    for identity, letters in ledger.letters.items():
        records = ledger.tasks.get(identity)
        if records:  # a step whose look-up found nothing never became a task
            yield from _whole(letters[0], records)
        if any(letter != letters[0] for letter in letters):
            yield Broken("a failure has one dead letter", identity, f"{len(letters)}, not all alike")
    unread = set(ledger.unread)
    for place in asked.garbage:
        if place not in unread:
            yield Broken("what can't be read is a dead letter", _at(place), "none")
    for place in sorted(unread - set(asked.garbage)):
        yield Broken("nothing comes from nowhere", _at(place), "a dead letter of what could be read")


def _whole(letter: DeadLetter, records: Sequence[Task]) -> Iterator[Broken]:
    """Hold a dead letter against the records of its task: the last attempt's is in it, and the error of each."""
    task = letter.task
    if task is None:
        return
    if not any((task.payload, task.then, task.attempt) == (one.payload, one.then, one.attempt) for one in records):
        yield Broken("a dead letter holds its task whole", task.id, f"no record is like it, of attempt {task.attempt}")
    told = [attempt.attempt for attempt in letter.history]
    if told != list(range(1, task.attempt + 1)):
        yield Broken("a dead letter has each attempt's error", task.id, f"of {told} out of {task.attempt}")


def _nothing_left(ledger: Ledger) -> Iterator[Broken]:
    for timer_id in sorted(ledger.live):
        yield Broken("nothing is left behind", timer_id, "its timer is still to fire")
    for timer_id in sorted(ledger.states - ledger.live):
        yield Broken("nothing is left behind", timer_id, "the state of a timer that is gone")


def _projection(ledger: Ledger, ids: set[str], shown: Mapping[str, Shown]) -> Iterator[Broken]:
    for identity in sorted(ids):
        end = ledger.end(identity)
        if end is None:
            continue
        found = shown.get(identity)
        if found != (end.status.value, end.next_id):
            said = f"it shows {found.status}, next {found.following}" if found else "it knows no such task"
            yield Broken("the edge shows what the log says", identity, f"{said}; the log: {_short(end)}")


def _status(end: TaskEvent | None) -> Status | None:
    return end.status if end else None


def _said(end: TaskEvent) -> Any:
    return msgspec.json.decode(end.result).get("said") if end.result else None


def _short(end: TaskEvent) -> str:
    why = f" {end.error.code}" if end.error else ""
    return f"{end.status}{why} at attempt {end.attempt} by {end.worker} at {end.at}"


def _at(place: Sequence[object]) -> str:
    topic, partition, offset = place
    return f"{topic}-{partition}@{offset}"
