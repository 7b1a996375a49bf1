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
from schemas.records import FireOutcome, Task, Template
from schemas.tiers import Tier
from tests.streams.timer_tools import of, reached, timer
from tests.support import Log, beside, produce, produce_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.local.stack import LocalStack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def service(settings, tmp_path_factory) -> AsyncIterator[LocalStack]:
    """The service's process, on the Kafka and Valkey of the run."""
    async with beside(settings, tmp_path_factory.mktemp("timers") / "home", "timers") as running:
        yield running


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


async def test_slots_go_on_after_a_kill(service, settings):
    often = timer(every=400)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, often.id, often)
        await fires.until(of(often.id, 4))
        os.kill(service.pid("timers"), signal.SIGKILL)
        await fires.until(reached([often], now_ms() + 2000))
        await produce(settings, topics.TIMERS, often.id, None)


async def test_bytes_that_are_no_state_are_a_dead_letter_and_the_service_starts_all_the_same(settings, tmp_path):
    await produce_bytes(settings, topics.TIMERS_STATE, b"garbage", key=b"x")
    once = timer(at=now_ms() + 200)
    async with (
        Log(settings, topics.DEAD_LETTERS) as letters,
        Log(settings, topics.TIMERS_FIRED) as fires,
        beside(settings, tmp_path / "home", "timers"),
    ):
        await letters.until(lambda told: any(letter.raw == b"garbage" for letter in told))
        await produce(settings, topics.TIMERS, once.id, once)
        await fires.until(of(once.id))


async def test_a_timer_that_means_nothing_disturbs_no_other(service, settings):
    good = timer(at=now_ms() + 200)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, "bad", timer(id="bad", cron="99 * * * *"))
        await produce(settings, topics.TIMERS, good.id, good)
        await fires.until(of(good.id))
