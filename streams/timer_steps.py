"""Pure: what is written of a timer's slot, in which order.

    the decision (`timers.state`)  ->  the task  ->  the Fire  ->  accounted for (`timers.state`)

Each is durable before the next. A crash between them repeats what was decided, with the same ids, which is nothing: the
outcome store knows the task, readers keep the first Fire of a slot. A one-off is accounted for by its removal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from backbone import slots
from backbone.ids import derived_id
from backbone.stamp import stamp
from schemas.records import Fire, FireOutcome, Misfire, Timer, TimerState
from schemas.tiers import Tier
from schemas.topics import DELIVERIES, TIMERS, TIMERS_FIRED, TIMERS_STATE, for_task
from streams.bulk import Write

if TYPE_CHECKING:
    from backbone.settings import TierTable
    from backbone.slots import Decision


class Writes(NamedTuple):
    """The records of a step in their order; None where there is none to write."""

    decision: Write | None
    task: Write | None
    fire: Write | None
    account: Write


@dataclass(frozen=True, slots=True)
class Step:
    """A slot, or a range of skipped ones, on its way to being accounted for.

    Attributes:
        fire: what is told of it; None for a removed timer, of which only the state is to go.
        last: the last slot that it accounts for; None for a removed timer.
        writes: what is written.
    """

    fire: Fire | None
    last: int | None
    writes: Writes


FORGET = 0
"""When the state of a removed timer is due to go: at once."""


def forget(timer_id: str) -> Step:
    """Return the step that removes the state of a timer that was removed."""
    return Step(None, None, Writes(None, None, None, Write(TIMERS_STATE, timer_id, None)))


def steps_of(timer: Timer, after: int, firing: Fire | None, tiers: TierTable, now: int) -> list[Step]:
    """Return the steps of the slots that are due, in order.

    Args:
        timer: the timer.
        after: the moment after which its slots are not accounted for.
        firing: what was decided of the first of them and may not be done yet.
        tiers: which give a task its times.
        now: ms since the epoch.
    """
    steps = []
    if firing is not None:
        steps.append(_step(timer, firing, after, tiers, decided=True))
        after = _last_of(firing)
    for decision in slots.decide(timer, after, now):
        steps.append(_step(timer, _fire_of(timer, decision, now), after, tiers))
        after = decision.last
    return steps


def _step(timer: Timer, fire: Fire, after: int, tiers: TierTable, *, decided: bool = False) -> Step:
    skipped = fire.outcome is FireOutcome.SKIPPED
    last = _last_of(fire)
    decision = None
    if not decided and (skipped or _could_be_decided_anew(timer)):
        decision = _state(timer, after, fire)
    made = None if skipped else _made(timer, fire.slot, tiers)
    return Step(fire, last, Writes(decision, made, Write(TIMERS_FIRED, timer.id, fire), _account(timer, last)))


def accounted(step: Step, timer: Timer | None) -> Write:
    """Return the account of a step whose timer was changed, or removed, since the step was made."""
    return step.writes.account if timer is None or step.last is None else _account(timer, step.last)


def _account(timer: Timer, last: int) -> Write:
    # A one-off that was changed while an earlier moment of it was fired is still to come.
    return Write(TIMERS, timer.id, None) if timer.at == last else _state(timer, last)


def _state(timer: Timer, last: int, firing: Fire | None = None) -> Write:
    state = TimerState(id=timer.id, last_slot=max(0, last), revision=timer.revision, firing=firing)
    return Write(TIMERS_STATE, timer.id, state)


def _last_of(fire: Fire) -> int:
    return fire.slot if fire.to_slot is None else fire.to_slot


def _could_be_decided_anew(timer: Timer) -> bool:
    """Whether a slot that was decided to be fired might be skipped, were it decided again later."""
    return timer.at is None or timer.max_late is not None or timer.misfire is Misfire.SKIP


def _made(timer: Timer, slot: int, tiers: TierTable) -> Write | None:
    template = timer.template
    if template.delivery is not None:
        return Write(DELIVERIES, template.delivery.address, template.delivery)
    if template.task is None:
        return None
    tier = template.task.tier or Tier.REALTIME
    task = stamp(
        # Owner and tenant are the timer's; a task that is tried again has its own id, key and times already.
        msgspec.structs.replace(template.task, owner=timer.owner, tenant=timer.tenant),
        task_id=_task_id(timer, slot),
        tier=tier,
        policy=tiers[tier],
        now=slot,
    )
    return Write(for_task(task), task.key, task)


def _task_id(timer: Timer, slot: int) -> str:
    task = timer.template.task
    return task.id if task and task.id else derived_id(timer.id, slot)


def _fire_of(timer: Timer, decision: Decision, now: int) -> Fire:
    skipped = decision.outcome is FireOutcome.SKIPPED
    return Fire(
        timer_id=timer.id,
        slot=decision.slot,
        outcome=decision.outcome,
        at=now,
        to_slot=decision.last if decision.count > 1 else None,
        count=decision.count,
        late_by=decision.late_by,
        reason=decision.reason,
        task_id=None if skipped or timer.template.task is None else _task_id(timer, decision.slot),
    )
