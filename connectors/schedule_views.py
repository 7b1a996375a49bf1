"""Schedules as a client is shown them: in a list with their last fire, one of them with its latest ones, and histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from backbone import when
from connectors.state import accounted
from connectors.views import Instant, View, document, instant, iso
from schemas.records import Fire, FireOutcome, Misfire
from schemas.tiers import Tier  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.schedules import Page
    from connectors.state import TimerState


class FireView(View):
    """What became of a slot of a schedule, or of a range of slots that were skipped."""

    slot: Instant
    to: Instant | None = Field(None, description="The last slot of the range.")
    count: int = Field(1, description="How many slots it tells of; none of them is told of by another fire.")
    at: Instant
    outcome: FireOutcome
    late_by_ms: int | None = None
    reason: str | None = None
    task_id: str | None = None


class ScheduledTask(View):
    """The task that a schedule makes."""

    kind: str
    tier: Tier | None
    payload: Any


class Schedule(View):
    """A schedule and the slots that are accounted for."""

    id: str
    task: ScheduledTask | None = None
    when: str | None = Field(None, description="What it means, in English.")
    at: Instant | None = None
    cron: str | None = None
    tz: str | None = None
    every: float | None = Field(None, description="Seconds.")
    jitter: float = Field(0, description="Seconds.")
    misfire: Misfire = Misfire.FIRE_ONCE
    catch_up_limit: int | None = Field(None, description="With `catch_up`: how many slots are caught up with.")
    max_late: float | None = Field(None, description="Seconds by which a slot may be fired late.")
    next: Instant | None = Field(None, description="Its next slot, where the edge can tell; none while it is paused.")
    upcoming: list[Instant] = Field([], description="Its next three slots; in a list only the next.")
    active: bool = Field(description="Whether it is still to fire.")
    enabled: bool = Field(True, description="False while it is paused.")
    paused_at: Instant | None = None
    revision: int = 1
    created_at: Instant | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    last: FireView | None = Field(None, description="What became of its last slot.")
    fires: list[FireView] = Field([], description="The latest fires, by slot; left out in a list.")


class Schedules(View):
    """Some schedules, the newest first."""

    schedules: list[Schedule]
    cursor: str | None = Field(None, description="Asks for what follows.")


class History(View):
    """Some fires of a schedule, the newest first."""

    fires: list[FireView]
    cursor: str | None = Field(None, description="Asks for what follows.")


def schedule(state: TimerState, upcoming: Sequence[int], *, whole: bool = True) -> Schedule:
    """Return a folded schedule as clients see it, with its next slots and, if whole, its latest fires."""
    timer, place = state.timer, state.place
    fires = [_fire(fire) for fire in accounted(state.fires)]
    told: dict[str, Any] = {
        "id": state.id,
        "upcoming": [iso(slot) for slot in upcoming],
        "next": instant(upcoming[0]) if upcoming else None,
        "active": state.active,
        "last": fires[-1] if fires else None,
        "fires": fires if whole else [],
    }
    if place is not None:
        told |= {"topic": place.topic, "partition": place.partition, "offset": place.offset}
    if timer is None:
        return Schedule(**told)
    made = timer.template.task
    return Schedule(
        **told,
        task=made and ScheduledTask(kind=made.kind, tier=made.tier, payload=document(made.payload)),
        when=when.tell(timer),
        at=instant(timer.at),
        cron=timer.cron,
        tz=timer.tz,
        every=timer.every / 1000 if timer.every else None,
        jitter=timer.jitter / 1000,
        misfire=timer.misfire,
        catch_up_limit=timer.catch_up_limit if timer.misfire is Misfire.CATCH_UP else None,
        max_late=None if timer.max_late is None else timer.max_late / 1000,
        enabled=timer.enabled,
        paused_at=None if timer.enabled else instant(timer.since),
        revision=timer.revision,
        created_at=instant(timer.created_at),
    )


def history(page: Page) -> History:
    """Return a page of fires as clients see it."""
    return History(fires=[_fire(fire) for fire in page.fires], cursor=page.cursor)


def _fire(fire: Fire) -> FireView:
    return FireView(
        slot=iso(fire.slot),
        to=instant(fire.to_slot),
        count=fire.count,
        at=iso(fire.at),
        outcome=fire.outcome,
        late_by_ms=fire.late_by,
        reason=fire.reason,
        task_id=fire.task_id,
    )
