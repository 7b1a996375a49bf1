"""Schedules: timers that people make, change, look at and remove. The timer service owns what they mean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from backbone import slots, when
from backbone.clock import now_ms, to_datetime, to_ms
from backbone.cron import read_zone
from backbone.errors import CronError, PhraseError, TimerError
from backbone.ids import new_id
from connectors.errors import RequestError, ScheduleTakenError, ScheduleUnknownError
from connectors.gateway import owners_of
from connectors.lists import LATEST, Mark
from connectors.state import accounted, fold_timer
from connectors.states import Change
from schemas.records import Misfire, Task, Template, Timer
from schemas.topics import TIMERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backbone.lease import Lease
    from backbone.security.identity import Principal
    from connectors.gateway import Gateway
    from connectors.lists import Lists
    from connectors.state import Fired, TimerState
    from connectors.states import States
    from schemas.records import Fire
    from schemas.tiers import Tier

JUST_NOW_MS = 5_000
MOST_CAUGHT_UP_BY_DEFAULT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A schedule as someone wants it; exactly one of `when`, `at`, `cron` and `every`, times and durations in ms."""

    kind: str
    payload: dict[str, Any]
    tier: Tier | None = None
    id: str | None = None
    at: int | None = None
    cron: str | None = None
    tz: str | None = None
    every: int | None = None
    when: str | None = None
    jitter: int = 0
    misfire: Misfire = Misfire.FIRE_ONCE
    catch_up_limit: int | None = None
    max_late: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a caller's schedules, or of a schedule's fires, the newest first; `cursor` asks for what follows."""

    schedules: list[TimerState] = field(default_factory=list)
    fires: list[Fire] = field(default_factory=list)
    cursor: str | None = None


class Schedules:
    """Makes timers of wishes, and reads what became of them."""

    def __init__(self, gateway: Gateway, states: States, lists: Lists, changing: Callable[[str], Lease]) -> None:
        """Make and read them; `changing` leases a schedule of that id: of two changes at once the later sees the former."""
        self._gateway = gateway
        self._states = states
        self._lists = lists
        self._changing = changing

    async def put(self, principal: Principal, wish: Wish) -> TimerState:
        """Make a schedule; one of the same id is replaced.

        Raises:
            RequestError: its times make no sense; names the field.
            KindUnknownError: nobody does this kind.
            PayloadError: the payload does not fit the kind.
            ScheduleTakenError: someone else has a schedule of this id.
            BrokerUnavailableError: Kafka is away; nothing was accepted.
            StoreUnavailableError: Redis is away, and an id of one's own needs it; nothing was accepted.
        """
        kind = await self._gateway.kinds.announced(wish.kind)
        payload = self._gateway.payloads.check(wish.kind, wish.payload, "task.payload")
        if wish.id is None:
            return await self._put(principal, wish, wish.tier or kind.tier, payload, None)
        async with self._changing(wish.id):
            earlier = await self._states.timer(wish.id)
            return await self._put(principal, wish, wish.tier or kind.tier, payload, earlier)

    async def _put(
        self, principal: Principal, wish: Wish, tier: Tier, payload: bytes, earlier: TimerState | None
    ) -> TimerState:
        if earlier and earlier.timer and earlier.timer.owner not in owners_of(principal):
            raise ScheduleTakenError(field="id")
        now = now_ms()
        timer = Timer(
            id=wish.id or new_id(),
            owner=principal.owner,
            tenant=principal.tenant,
            created_at=now,
            revision=earlier.timer.revision + 1 if earlier and earlier.timer else 1,
            **_times(wish, now),
            jitter=wish.jitter,
            misfire=wish.misfire,
            catch_up_limit=_catch_up_limit(wish),
            max_late=wish.max_late,
            template=Template(
                task=Task(
                    kind=wish.kind,
                    tier=tier,
                    owner=principal.owner,
                    tenant=principal.tenant,
                    payload=payload,
                )
            ),
        )
        _check(timer)
        if not await asyncio.to_thread(upcoming, timer, now, 1):
            raise RequestError(
                "it never fires: no day of the next century fits it", field="when" if wish.when else "cron"
            )
        return await self._write(earlier, timer)

    async def _write(self, earlier: TimerState | None, timer: Timer) -> TimerState:
        self._gateway.need_broker()
        place = await self._gateway.produce(TIMERS, timer.id, timer)
        await self._gateway.remember(Change(timer.id, timer, place))
        return fold_timer(earlier, timer.id, timer, place)

    async def pause(self, principal: Principal, timer_id: str) -> TimerState:
        """Let a schedule fire no more until it is resumed; one that is paused stays as it is.

        Raises:
            ScheduleUnknownError: there is none that is still to fire.
            StoreUnavailableError: Redis did not answer.
            BrokerUnavailableError: Kafka is away; nothing was changed.
        """
        return await self._enable(principal, timer_id, enabled=False)

    async def resume(self, principal: Principal, timer_id: str) -> TimerState:
        """Let a schedule that was paused fire again; what it would have fired meanwhile is skipped, as paused.

        Raises:
            ScheduleUnknownError: there is none that is still to fire.
            StoreUnavailableError: Redis did not answer.
            BrokerUnavailableError: Kafka is away; nothing was changed.
        """
        return await self._enable(principal, timer_id, enabled=True)

    async def _enable(self, principal: Principal, timer_id: str, *, enabled: bool) -> TimerState:
        async with self._changing(timer_id):
            state = await self._still_to_fire(principal, timer_id)
            timer = state.timer
            if timer is None or timer.enabled is enabled:
                return state
            changed = msgspec.structs.replace(timer, enabled=enabled, since=now_ms(), revision=timer.revision + 1)
            return await self._write(state, changed)

    async def _still_to_fire(self, principal: Principal, timer_id: str) -> TimerState:
        state = await self.find(principal, timer_id)
        if not state.active:
            raise ScheduleUnknownError("it fires no more: it was removed, or was to fire once and has")
        return state

    async def page(self, principal: Principal, *, limit: int, cursor: str | None = None) -> Page:
        """Return schedules of the caller's that are still to fire, the newest first.

        Raises:
            RequestError: the cursor is none.
            StoreUnavailableError: Redis did not answer.
        """
        after = None if cursor is None else Mark.read(cursor)
        owners = owners_of(principal)
        marks = await self._lists.page(owners, since=0, before=LATEST, after=after, most=limit)
        found = await self._states.timers([mark.id for mark in marks])
        known = [state for state in found if state and state.active and state.timer and state.timer.owner in owners]
        return Page(
            schedules=[await self._followable(state) for state in known],
            cursor=marks[-1].cursor() if len(marks) == limit else None,
        )

    async def history(self, principal: Principal, timer_id: str, *, limit: int, cursor: str | None = None) -> Page:
        """Return the fires of a schedule of the caller's, the newest first, also of one that was removed.

        Raises:
            ScheduleUnknownError: there is none.
            RequestError: the cursor is none.
            StoreUnavailableError: Redis did not answer.
        """
        mark = None if cursor is None else Mark.read(cursor)
        await self.find(principal, timer_id)
        fires = accounted(await self._followed(await self._states.history(timer_id)))[::-1]
        left = [fire for fire in fires if mark is None or _mark(fire) < mark]
        return Page(fires=left[:limit], cursor=_mark(left[limit - 1]).cursor() if len(left) > limit else None)

    async def find(self, principal: Principal, timer_id: str) -> TimerState:
        """Return what is known of a schedule of the caller's; one that was removed is known while it has fires.

        Raises:
            ScheduleUnknownError: there is none.
            StoreUnavailableError: Redis did not answer.
        """
        state = await self._states.timer(timer_id)
        if state is None or state.timer is None or state.timer.owner not in owners_of(principal):
            raise ScheduleUnknownError
        if not state.active and not state.fires:
            raise ScheduleUnknownError
        return await self._followable(state)

    async def _followable(self, state: TimerState) -> TimerState:
        """Leave out a fire of this moment whose task can't be looked up yet: its record is folded after the fire's."""
        return msgspec.structs.replace(state, fires=tuple(await self._followed(state.fires)))

    async def _followed(self, fires: Sequence[Fired]) -> Sequence[Fired]:
        fire = fires[-1].fire if fires else None
        if fire is None or fire.task_id is None or now_ms() - fire.at > JUST_NOW_MS:
            return fires
        return fires if await self._states.task(fire.task_id) is not None else fires[:-1]

    async def remove(self, principal: Principal, timer_id: str) -> None:
        """Remove a schedule; what it has made goes on.

        Raises:
            ScheduleUnknownError: there is none that is still to fire.
            StoreUnavailableError: Redis did not answer.
            BrokerUnavailableError: Kafka is away; nothing was removed.
        """
        async with self._changing(timer_id):
            await self._still_to_fire(principal, timer_id)
            self._gateway.need_broker()
            place = await self._gateway.produce(TIMERS, timer_id, None)
            await self._gateway.remember(Change(timer_id, None, place))


def _mark(fire: Fire) -> Mark:
    """Return a fire's place in a history: two may begin with the same slot, of which one is told of by the first."""
    return Mark(fire.slot, f"{fire.slot if fire.to_slot is None else fire.to_slot:020}")


def upcoming(timer: Timer, now: int, count: int) -> list[int]:
    """Return a timer's next slots, in ms since the epoch, before their jitter; none while it is paused."""
    if not timer.enabled:
        return []
    if timer.at is not None:
        return [timer.at]
    try:
        return list(islice(slots.slots_after(timer, now), count))
    except TimerError:
        return []  # whoever wrote it did not come by here, and the timer service refuses it


def _times(wish: Wish, now: int) -> dict[str, Any]:
    """Return what of a wish is about when, as a timer has it.

    Raises:
        RequestError: it is not exactly one of them, or not understood; names the field.
    """
    given = [name for name in ("when", "at", "cron", "every") if getattr(wish, name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise RequestError(f"give exactly one of when, at, cron and every, found {found}", field=(given or ["at"])[-1])
    if wish.when is None:
        return {"at": wish.at, "cron": wish.cron, "tz": wish.tz, "every": wish.every}
    try:
        understood = when.read(wish.when, to_datetime(now), read_zone(wish.tz or "UTC"))
    except (CronError, PhraseError) as error:
        raise RequestError(error.message, field="tz" if error.field == "tz" else "when") from None
    at = None if understood.at is None else to_ms(understood.at)
    # Only an expression goes on meaning a zone's clock.
    return {"at": at, "cron": understood.cron, "tz": wish.tz if understood.cron else None, "every": understood.every}


def _catch_up_limit(wish: Wish) -> int:
    if wish.catch_up_limit is None:
        return MOST_CAUGHT_UP_BY_DEFAULT
    if wish.misfire is not Misfire.CATCH_UP:
        raise RequestError("goes with the misfire policy `catch_up` only", field="catch_up_limit")
    return wish.catch_up_limit


def _check(timer: Timer) -> None:
    """Refuse times that make no sense.

    Raises:
        RequestError: names the field.
    """
    try:
        slots.check(timer)
    except TimerError as error:
        raise RequestError(error.message, field=error.field) from None
    if timer.every is not None and timer.jitter > timer.every:
        raise RequestError(
            "is longer than the pause from one to the next: they would overtake one another", field="jitter"
        )
