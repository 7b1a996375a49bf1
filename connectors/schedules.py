"""Schedules: timers that people make, change, look at and remove. The timer service owns what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from backbone import slots
from backbone.clock import now_ms
from backbone.errors import TimerError
from backbone.ids import new_id
from connectors.errors import RequestError, ScheduleTakenError, ScheduleUnknownError
from connectors.gateway import owners_of
from connectors.state import fold_timer
from connectors.states import Change
from schemas.records import Task, Template, Timer
from schemas.topics import TIMERS

if TYPE_CHECKING:
    from backbone.security.identity import Principal
    from connectors.gateway import Gateway
    from connectors.state import TimerState
    from connectors.states import States
    from schemas.tiers import Tier

JUST_NOW_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A schedule as someone wants it; exactly one of `at`, `cron` and `every`, times and durations in ms."""

    kind: str
    payload: dict[str, Any]
    tier: Tier | None = None
    id: str | None = None
    at: int | None = None
    cron: str | None = None
    tz: str | None = None
    every: int | None = None
    jitter: int = 0


class Schedules:
    """Makes timers of wishes."""

    def __init__(self, gateway: Gateway, states: States) -> None:
        self._gateway = gateway
        self._states = states

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
        payload = self._gateway.check(wish.kind, wish.payload, "task.payload")
        earlier = await self._states.timer(wish.id) if wish.id is not None else None
        if earlier and earlier.timer and earlier.timer.owner not in owners_of(principal):
            raise ScheduleTakenError(field="id")
        timer = Timer(
            id=wish.id or new_id(),
            owner=principal.owner,
            tenant=principal.tenant,
            created_at=now_ms(),
            revision=earlier.timer.revision + 1 if earlier and earlier.timer else 1,
            at=wish.at,
            cron=wish.cron,
            tz=wish.tz,
            every=wish.every,
            jitter=wish.jitter,
            template=Template(
                task=Task(
                    kind=wish.kind,
                    tier=wish.tier or kind.tier,
                    owner=principal.owner,
                    tenant=principal.tenant,
                    payload=payload,
                )
            ),
        )
        _check(timer)
        self._gateway.need_broker()
        place = await self._gateway.produce(TIMERS, timer.id, timer)
        await self._gateway.remember(Change(timer.id, timer, place))
        return fold_timer(earlier, timer.id, timer, place)

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
        fire = state.fires[-1].fire if state.fires else None
        if fire is None or fire.task_id is None or now_ms() - fire.at > JUST_NOW_MS:
            return state
        if await self._states.task(fire.task_id) is not None:
            return state
        return msgspec.structs.replace(state, fires=state.fires[:-1])

    async def remove(self, principal: Principal, timer_id: str) -> None:
        """Remove a schedule; what it has made goes on.

        Raises:
            ScheduleUnknownError: there is none that is still to fire.
            StoreUnavailableError: Redis did not answer.
            BrokerUnavailableError: Kafka is away; nothing was removed.
        """
        if not (await self.find(principal, timer_id)).active:
            raise ScheduleUnknownError("it fires no more: it was removed, or was to fire once and has")
        self._gateway.need_broker()
        place = await self._gateway.produce(TIMERS, timer_id, None)
        await self._gateway.remember(Change(timer_id, None, place))


def next_slot(timer: Timer, now: int) -> int | None:
    """Return when a timer is due next, in ms since the epoch, before its jitter; None if never."""
    return timer.at if timer.at is not None else next(slots.slots_after(timer, now), None)


def _check(timer: Timer) -> None:
    """Refuse times that make no sense.

    Raises:
        RequestError: names the field.
    """
    try:
        slots.check(timer)
    except TimerError as error:
        raise RequestError(error.message, field=error.field) from None
