"""Pure: when a timer is due, and what becomes of each of its slots.

A slot is a moment at which a timer fires, in ms since the epoch. A slot is on time if it is fired within `LATE_MS`.
Slots that passed while nothing ran are dealt with by the timer's misfire policy:

    fire_once   the newest one is fired late, unless one is on time; the others are skipped
    catch_up    the newest `catch_up_limit` are fired late, in order; the others are skipped
    skip        all are skipped

and one that is later than `max_late` is skipped by any policy. A timer that is not enabled fires nothing from `since`
on; one that is enabled again skips what would have fired before `since` and is not accounted for yet: it was paused. No
slot goes without an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby, islice, pairwise
from typing import TYPE_CHECKING

from backbone.clock import to_datetime
from backbone.cron import Cron, read_zone
from backbone.errors import CronError, TimerError
from backbone.ids import fraction_of
from schemas.records import FireOutcome, Misfire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.records import Timer

LATE_MS = 1000
MOST = 10_000
"""The most slots that are decided at once, so that a year of missed minutes doesn't hold up the other timers."""

MOST_CAUGHT_UP = 1000

_SHARED = 3
"""Slots that are looked up for all timers of one expression: what a timer on time asks for, the jitter's end included."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a slot, or of a range of skipped ones.

    Attributes:
        slot: the slot, or the first of the range.
        last: the slot, or the last of the range.
        count: how many slots it is about.
        outcome: what becomes of them.
        late_by: ms past the slot, where it is fired late.
        reason: why they are skipped.
    """

    slot: int
    last: int
    count: int
    outcome: FireOutcome
    late_by: int | None = None
    reason: str | None = None


def check(timer: Timer) -> None:
    """Refuse a timer that means nothing.

    Raises:
        TimerError: naming the field.
    """
    given = [name for name in ("at", "cron", "every") if getattr(timer, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise TimerError(f"give exactly one of at, cron and every, found {found}", field=given[-1] if given else "at")
    if timer.tz is not None and timer.cron is None:
        raise TimerError("a time zone goes with `cron` only", field="tz")
    if timer.every is not None and timer.every < 1:
        raise TimerError("an interval is at least 1 ms", field="every")
    for field in ("jitter", "max_late"):
        if (getattr(timer, field) or 0) < 0:
            raise TimerError("it can't be less than 0", field=field)
    if not 1 <= timer.catch_up_limit <= MOST_CAUGHT_UP:
        raise TimerError(f"it is from 1 to {MOST_CAUGHT_UP}", field="catch_up_limit")
    if (timer.template.task is None) == (timer.template.delivery is None):
        raise TimerError("give exactly one of `task` and `delivery`", field="template")
    if timer.cron is not None:
        _fires(timer.cron, timer.tz or "UTC", timer.created_at)


def slots_after(timer: Timer, after: int) -> Iterator[int]:
    """Yield the slots of a checked timer that are later than `after`, in order."""
    if timer.at is not None:
        if timer.at > after:
            yield timer.at
    elif timer.every is not None:
        slot = timer.created_at + (max(0, after - timer.created_at) // timer.every) * timer.every
        while True:
            slot += timer.every
            yield slot
    else:
        expression, tz = timer.cron or "", timer.tz or "UTC"
        for _ in range(_SHARED):
            following = _next_fire(expression, tz, after // 1000)
            if following is None:
                return
            yield following
            after = following
        yield from _fires(expression, tz, after)


def dues_after(timer: Timer, after: int) -> Iterator[tuple[int, int]]:
    """Yield the slots of a checked timer that are later than `after`, in order, each with when it is to be fired.

    With jitter, that is a while after the slot, and before the next one, that is always the same for the same slot.
    """
    if not timer.jitter:
        yield from ((slot, slot) for slot in slots_after(timer, after))
        return
    ahead: Iterator[int | None] = chain(slots_after(timer, after), (None,))
    for slot, following in pairwise(ahead):
        if slot is not None:
            room = timer.jitter if following is None else min(timer.jitter, following - slot)
            yield slot, slot + int(room * fraction_of(timer.id, slot))


def next_due(timer: Timer, after: int) -> int | None:
    """Return when the first slot later than `after` is to be dealt with, or None if there is none (while paused)."""
    _, due = next(dues_after(timer, after), (None, None))
    return None if due is None or _waits(timer, due) else due


def decide(timer: Timer, after: int, now: int) -> list[Decision]:
    """Return what becomes of the slots later than `after` that are due, in order; of the first `MOST` if there are more."""
    owed: list[tuple[int, int]] = []
    for slot, due in islice(dues_after(timer, after), MOST):
        if due > now or _waits(timer, due):
            break
        owed.append((slot, due))
    newer = range(len(owed) - 1, -1, -1)
    decided = [_decide(timer, slot, due, rank, now) for (slot, due), rank in zip(owed, newer, strict=True)]
    if len(owed) == MOST:
        # Whether the last ones are the newest is not known yet: they wait until the others are accounted for.
        decided = decided[: MOST - _fired_late(timer)]
    return list(_in_ranges(decided))


def _waits(timer: Timer, due: int) -> bool:
    """Whether what is due at that moment waits until the timer is enabled again."""
    return not timer.enabled and (timer.since is None or due >= timer.since)


def _fired_late(timer: Timer) -> int:
    """Return how many late slots the misfire policy fires."""
    return {Misfire.SKIP: 0, Misfire.FIRE_ONCE: 1, Misfire.CATCH_UP: timer.catch_up_limit}[timer.misfire]


def _decide(timer: Timer, slot: int, due: int, newer: int, now: int) -> Decision:
    """Return what becomes of a slot that is `due`, and after which `newer` ones are due as well."""
    if timer.enabled and timer.since is not None and due < timer.since:
        return Decision(slot, slot, 1, FireOutcome.SKIPPED, reason="paused")
    late_by = now - due
    if late_by <= LATE_MS:
        return Decision(slot, slot, 1, FireOutcome.FIRED)
    if timer.max_late is not None and late_by > timer.max_late:
        return Decision(slot, slot, 1, FireOutcome.SKIPPED, reason="too late")
    if newer >= _fired_late(timer):
        return Decision(slot, slot, 1, FireOutcome.SKIPPED, reason="missed")
    return Decision(slot, slot, 1, FireOutcome.LATE, late_by=late_by)


def _in_ranges(decided: list[Decision]) -> Iterator[Decision]:
    """Join neighbours that are skipped for one reason."""
    for (outcome, reason), group in groupby(decided, key=lambda one: (one.outcome, one.reason)):
        members = list(group)
        if outcome is FireOutcome.SKIPPED:
            yield Decision(members[0].slot, members[-1].slot, len(members), outcome, reason=reason)
        else:
            yield from members


@lru_cache(maxsize=16_384)
def _next_fire(expression: str, tz: str, after: int) -> int | None:
    """Return the first slot of a cron expression later than `after` (seconds), in ms: thousands share the full hour."""
    return next(_fires(expression, tz, after * 1000), None)


def _fires(expression: str, tz: str, after: int) -> Iterator[int]:
    """Return the slots of a cron expression later than `after`.

    Raises:
        TimerError: it is none, or the zone is none.
    """
    try:
        moments = Cron(expression).fires(to_datetime(after), read_zone(tz))
    except CronError as error:
        raise TimerError(error.message, field="tz" if error.field == "tz" else "cron") from None
    return (int(moment.timestamp() * 1000) for moment in moments)
