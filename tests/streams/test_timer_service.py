"""The timer service on the real Kafka, under the real supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError
from backbone.ids import derived_id, new_id
from backbone.settings import Settings
from backbone.stamp import stamp
from backbone.telemetry import Readiness
from schemas import codec, topics
from schemas.records import FireOutcome, Task, Template
from schemas.tiers import Tier
from streams.bulk import BulkProducer, Write
from streams.timer_book import TimerBook
from streams.timer_reader import LARGEST, TimerReader
from streams.timers import TimerService
from tests.streams.timer_tools import of, reached, timer
from tests.support import Log, apart, beside, produce, produce_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from barnabas.local.stack import LocalStack


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
    """Nor one of which no state, or no task, could be written: it would be due for ever."""
    large = Template(task=Task(kind="cron.parse", payload=b"[" + b"0," * (LARGEST // 2) + b"0]"))
    bad = [timer(cron="99 * * * *"), timer(at=now_ms(), id="x" * 2000), timer(at=now_ms(), template=large)]
    good = timer(at=now_ms() + 200)
    async with Log(settings, topics.TIMERS_FIRED) as fires, Log(settings, topics.DEAD_LETTERS) as letters:
        for one in (*bad, good):
            await produce(settings, topics.TIMERS, one.id, one)
        await fires.until(of(good.id))
        await letters.until(
            lambda told: {one.error.field for one in told if one.topic.endswith("timers")} >= {"cron", "id", "template"}
        )


class ForgetfulProducer(BulkProducer):
    """Says of no record that it is durable."""

    async def send_all(self, writes: Sequence[Write]) -> list[bool]:
        return [False for _ in writes]


async def test_one_that_cannot_read_its_timers_does_not_stand_still(stack):
    """It ends, and is started again by whoever supervises it, whichever of the two topics it can't go on with."""
    for topic in (topics.TIMERS_STATE, topics.TIMERS):
        settings = await apart(stack.settings, f"timers-unread-{topic.name}")
        await produce_bytes(settings, topic, b"garbage", key=b"x")
        service = TimerService(settings, Readiness(), producer=ForgetfulProducer(settings))
        try:
            with pytest.raises(BrokerUnavailableError):
                await asyncio.wait_for(service.start(), 60)
        finally:
            await service.stop()


async def test_what_was_read_before_its_partition_was_revoked_is_not_taken(settings):
    """To refuse a record takes its time, in which the partition may go to another service."""
    book = TimerBook()
    reader = TimerReader(settings, AIOKafkaConsumer(), book, BulkProducer(settings), lambda: None)
    read = [
        SimpleNamespace(partition=0, key=one.id.encode(), value=codec.encode(one), headers=())
        for one in (timer(every=1000), timer(every=1000))
    ]
    reader.assigned([TopicPartition("timers", 0)])
    await reader._take(read[0])
    assert len(book) == 1
    reader.revoked(TopicPartition("timers", 0))
    await reader._take(read[1])
    assert len(book) == 0
