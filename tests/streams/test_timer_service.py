"""The timer service on the real Kafka, under the real supervisor."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from backbone.clock import now_ms
from backbone.ids import derived_id, new_id
from backbone.settings import Settings
from backbone.stamp import stamp
from schemas import topics
from schemas.records import FireOutcome, Task, Template, Timer
from schemas.tiers import Tier
from tests.support import Log, beside, produce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.local.stack import LocalStack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def service(settings, tmp_path_factory) -> AsyncIterator[LocalStack]:
    """The service's process, on the Kafka and Valkey of the run."""
    async with beside(settings, tmp_path_factory.mktemp("timers") / "home", "timers") as running:
        yield running


def timer(**fields) -> Timer:
    task = Task(kind="cron.parse", tier=Tier.LOW, payload=b'{"expression":"@daily"}')
    return Timer(
        **{
            "id": new_id(),
            "owner": "ada",
            "tenant": "ada",
            "template": Template(task=task),
            "created_at": now_ms(),
            **fields,
        }
    )


def of(identity: str, count: int = 1):
    """Tell whether there are as many Fires of a timer."""
    return lambda fires: sum(fire.timer_id == identity for fire in fires) >= count


async def test_a_one_off_makes_its_task_and_is_accounted_for(service, settings):
    once = timer(at=now_ms() + 300)
    async with Log(settings, topics.TASKS[Tier.LOW]) as tasks, Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, once.id, once)
        (fire,) = [fire for fire in await fires.until(of(once.id)) if fire.timer_id == once.id]
        made = [task for task in await tasks.until(bool) if task.id == fire.task_id]
    assert (fire.slot, fire.outcome, fire.task_id) == (once.at, FireOutcome.FIRED, derived_id(once.id, once.at))
    assert [(task.owner, task.created_at, task.tier) for task in made] == [("ada", once.at, Tier.LOW)]


async def test_an_attempt_that_waits_in_a_timer_keeps_its_id_and_times(service, settings):
    again = stamp(
        Task(kind="cron.parse", attempt=2),
        task_id=new_id(), tier=Tier.LOW, policy=Settings().tiers.low, now=now_ms() - 60_000,
    )  # fmt: skip
    retry = timer(at=now_ms(), template=Template(task=again), owner=again.owner, tenant=again.tenant)
    async with Log(settings, topics.TASKS[Tier.LOW]) as tasks:
        await produce(settings, topics.TIMERS, retry.id, retry)
        assert again in await tasks.until(lambda made: again in made)


async def test_slots_go_on_after_a_kill_and_each_is_accounted_for_once(service, settings):
    often = timer(every=400)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, often.id, often)
        await fires.until(of(often.id, 2))
        os.kill(service.pid("timers"), signal.SIGKILL)
        seen = [fire for fire in await fires.until(of(often.id, 14)) if fire.timer_id == often.id]
    first_told = {fire.slot: fire for fire in reversed(seen)}
    accounted = [
        slot
        for fire in sorted(first_told.values(), key=lambda fire: fire.slot)
        for slot in range(fire.slot, (fire.to_slot or fire.slot) + 1, often.every)
    ]
    assert accounted == list(range(accounted[0], accounted[-1] + 1, often.every))
    for fire in seen:
        assert fire.task_id == (None if fire.outcome is FireOutcome.SKIPPED else derived_id(often.id, fire.slot))


async def test_a_timer_that_means_nothing_disturbs_no_other(service, settings):
    good = timer(at=now_ms() + 200)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, "bad", timer(id="bad", cron="99 * * * *"))
        await produce(settings, topics.TIMERS, good.id, good)
        await fires.until(of(good.id))
