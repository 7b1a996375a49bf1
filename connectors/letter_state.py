"""Pure: what is known of a dead letter, folded from the records of the topic `dead-letters`.

A letter's state keeps its first record, without the payload, and what was done with it: its replays, and that it was
dropped. Folding is idempotent and knows no order, as in `connectors.state`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import msgspec

from backbone.ids import derived_id
from backbone.stamp import DIRECT
from connectors.state import Place
from schemas.errors import Problem
from schemas.records import DeadLetter, Resolution, Resolved
from schemas.tiers import Tier

LETTER_TTL = timedelta(days=30)
"""How long a letter is kept, as its topic keeps it."""


class LetterStatus(StrEnum):
    """What was done with a letter."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    DROPPED = "dropped"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without what it carries.

    Attributes:
        place: where its record lies.
        owner: its task's; bytes belong to whoever runs the stack.
        attempts: how often its task was tried.
        replay_of: the letter whose replay its task was.
    """

    place: Place
    at: int
    error: Problem
    owner: str
    kind: str | None = None
    tier: Tier | None = None
    attempts: int = 0
    replay_of: str | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done with a letter; `task_id` is the replay's."""

    place: Place
    by: str
    at: int
    task_id: str | None = None


class LetterState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a letter.

    Attributes:
        letter: from its first record; None as long as only what was done with it was read.
        replays: each once, in the order of the log.
        dropped: the first time that it was.
    """

    id: str
    letter: Letter | None = None
    replays: tuple[Done, ...] = ()
    dropped: Done | None = None

    @property
    def status(self) -> LetterStatus:
        """What was done with it."""
        if self.dropped:
            return LetterStatus.DROPPED
        return LetterStatus.REPLAYED if self.replays else LetterStatus.WAITING

    @property
    def at(self) -> int:
        """When it became a letter, in ms since the epoch; else when something was first done with it."""
        if self.letter is not None:
            return self.letter.at
        done = [*self.replays] if self.dropped is None else [*self.replays, self.dropped]
        return min(one.at for one in done)


def letter_id(record: DeadLetter, key: bytes | None, place: Place) -> str:
    """Return the id of the letter that a record of `dead-letters` is, or tells of."""
    if record.resolved is not None:
        return record.resolved.letter_id
    if record.task is not None:
        return record.task.id
    return (key or b"").decode(errors="replace") or derived_id(place.topic, place.partition, place.offset)


def fold_letter(state: LetterState | None, identity: str, record: DeadLetter, place: Place) -> LetterState:
    """Return the state with one more record taken into account."""
    state = state or LetterState(id=identity)
    if record.resolved is None:
        if state.letter is None or _order(place) < _order(state.letter.place):
            return msgspec.structs.replace(state, letter=_letter(record, place))
        return state
    done = _done(record.resolved, place)
    if record.resolved.how is Resolution.DROPPED:
        return msgspec.structs.replace(state, dropped=min(filter(None, (state.dropped, done)), key=_done_order))
    replays = {one.task_id: one for one in sorted((*state.replays, done), key=_done_order, reverse=True)}
    return msgspec.structs.replace(state, replays=tuple(sorted(replays.values(), key=_done_order)))


def _letter(record: DeadLetter, place: Place) -> Letter:
    task = record.task
    if task is None:
        return Letter(place=place, at=record.at, error=record.error, owner=DIRECT)
    return Letter(
        place=place,
        at=record.at,
        error=record.error,
        owner=task.owner,
        kind=task.kind,
        tier=task.tier,
        attempts=task.attempt,
        replay_of=task.replay_of,
    )


def _done(resolved: Resolved, place: Place) -> Done:
    return Done(place=place, by=resolved.by, at=resolved.at, task_id=resolved.task_id)


def _done_order(done: Done) -> tuple[str, int, int]:
    return _order(done.place)


def _order(place: Place) -> tuple[str, int, int]:
    return place.topic, place.partition, place.offset
