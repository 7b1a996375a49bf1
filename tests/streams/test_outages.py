"""A tier's real process, with what can go wrong around it: a task that kills it, and Redis killed while tasks flow."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backbone.ids import new_id
from backbone.kafka import partition_of
from backbone.settings import TierTable
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from schemas import topics
from schemas.records import DeadLetter, Status, Task
from schemas.tiers import Tier
from streams.dispatch import MOST_DEATHS
from tests.streams import odd_handlers
from tests.support import Log, apart, produce, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.settings import Settings

TASKS = topics.TASKS[Tier.REALTIME]
TIER = "streams-realtime"


@pytest.fixture(scope="module")
async def mine(stack: LocalStack) -> Settings:
    """The run's Kafka, with topics of these tests' own."""
    return await apart(stack.settings, "outage-tests")


@pytest.fixture(scope="module")
async def house(mine, tmp_path_factory) -> AsyncIterator[LocalStack]:
    """The realtime tier and the timers with a Valkey of their own, which may be killed, and odd kinds installed."""
    table = TierTable()
    # How often a process starts again on a noisy machine is not what is tested here: tasks may wait.
    patient = {"start_by": timedelta(minutes=10), "deadline": timedelta(minutes=10), "attempts": 1}
    theirs = mine.model_copy(
        update={
            "home": tmp_path_factory.mktemp("outages") / "home",
            "tiers": TierTable(realtime=table.realtime.model_copy(update=patient)),
            **FREE_PORTS,
        }
    )
    theirs.model_fields_set.update({"kafka_bootstrap", "topic_prefix", "tiers"})
    theirs.model_fields_set.discard("redis_url")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", odd_handlers.install(tmp_path_factory.mktemp("installed")))
        async with LocalStack(theirs, only=("valkey", "timers", TIER)) as running:
            yield running


def task(kind: str = "odd.works", key: str = "", **payload) -> Task:
    identity = new_id()
    return Task(id=identity, key=key or identity, kind=kind, payload=json.dumps(payload).encode())


def ended(tasks):
    ids = {task.id for task in tasks}
    return lambda events: ids <= {event.task_id for event in events if event.status.terminal}


async def test_a_task_that_kills_its_process_ends_as_a_dead_letter_and_its_partition_goes_on(house, mine):
    bad = task("odd.dies")
    behind = [task(key=bad.key) for _ in range(3)]
    first = house.pid(TIER)
    async with Log(mine, topics.DEAD_LETTERS) as letters, Log(mine, topics.RESULTS) as results:
        for one in (bad, *behind):
            await produce(mine, TASKS, bad.key, one)
        events = await results.until(ended([bad, *behind]), limit=150)
        (letter,) = await letters.until(bool)
    assert isinstance(letter, DeadLetter)
    assert (letter.task.id, letter.error.code, [a.code for a in letter.history]) == (
        bad.id, "handler.died", ["handler.died"],
    )  # fmt: skip
    told = [event.status for event in events if event.task_id == bad.id]
    assert told == [Status.STARTED] * told.count(Status.STARTED) + [Status.FAILED]
    assert told.count(Status.STARTED) <= MOST_DEATHS
    done = {event.task_id: event for event in events if event.status is Status.SUCCEEDED}
    assert set(done) == {one.id for one in behind}
    assert house.pid(TIER) != first
    assert len({partition_of(one.key, mine.partitions) for one in (bad, *behind)}) == 1


async def test_parts_of_long_work_follow_one_another_at_once_and_by_the_timer_service(house, mine):
    first = task(parts=3, delay=0.2)
    async with Log(mine, topics.RESULTS) as results:
        await produce(mine, TASKS, first.key, first)
        events = await results.until(lambda events: any(e.result for e in events if e.root_id == first.id))
    ends = {event.step: event for event in events if event.root_id == first.id and event.status.terminal}
    assert sorted(ends) == [0, 1, 2]
    assert [ends[step].next_id for step in (0, 1)] == [ends[step].task_id for step in (1, 2)]


async def test_redis_is_killed_twice_while_tasks_flow_and_each_has_one_outcome(house, mine):
    tasks = [task(seconds=0.1) for _ in range(100)]
    tier, killed = house.pid(TIER), None

    async def back():
        return house.pid("valkey") not in {killed, None}

    async with Log(mine, topics.RESULTS) as results:
        for number, one in enumerate(tasks):
            if number in {20, 60}:
                await until(back, limit=60)
                killed = house.pid("valkey")
                os.kill(killed, signal.SIGKILL)
            await produce(mine, TASKS, one.key, one)
        events = await results.until(ended(tasks))
    ends = {(event.task_id, event.status, event.result) for event in events if event.status.terminal}
    ids = {one.id for one in tasks}
    assert Counter(status for task_id, status, _ in ends if task_id in ids) == {Status.SUCCEEDED: 100}
    # Nobody had to start the tier again: its partitions waited for Redis and went on.
    assert house.pid(TIER) == tier
