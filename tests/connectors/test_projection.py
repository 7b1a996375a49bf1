"""What the projection can't fold: one record is passed over, and what waits for Redis is not committed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from backbone import outcome
from backbone.clock import now_ms
from backbone.ids import new_id
from backbone.kafka import Producer, aiokafka_config, name_of
from backbone.redis import connect, key
from connectors.projection import Projection
from connectors.states import States
from schemas.records import Status, Task
from schemas.tiers import Tier
from schemas.topics import RESULTS
from tests.support import apart, until


async def told(settings, *ids):
    """Write an event of each of these tasks to one partition, and return that."""
    producer = Producer(settings)
    await producer.start()
    for task_id in ids:
        task = Task(id=task_id, key="k", kind="a.b", tier=Tier.LOW, owner="ann", tenant="ann", root_id=task_id)
        event = outcome.event(task, Status.STARTED, now=now_ms(), worker="w")
        partition, _ = await producer.send(RESULTS, task.key, event)
    await producer.stop()
    return TopicPartition(name_of(settings, RESULTS), partition)


async def committed(settings, partition):
    group = f"{settings.topic_prefix}projector"
    async with AIOKafkaConsumer(**aiokafka_config(settings), group_id=group) as consumer:
        return await consumer.committed(partition)


async def stopped(running):
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_what_was_not_folded_is_not_committed(stack, unused_port):
    settings = await apart(stack.settings, "projection-away")
    there = connect(settings)
    away = connect(settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{unused_port}/0")}))
    states = States(there, settings)
    first, second = new_id(), new_id()
    partition = await told(settings, first)
    projection = Projection(settings, states)
    await projection.start()
    running = asyncio.create_task(projection.run())
    await until(lambda: states.task(first), limit=60)
    projection._states = States(away, settings)
    await told(settings, second)

    async def waits():
        return not projection.folding

    await until(waits, limit=60)
    await stopped(running)
    assert await committed(settings, partition) == 1
    # It folds what it left, once Redis is there.
    projection = Projection(settings, states)
    await projection.start()
    running = asyncio.create_task(projection.run())
    await until(lambda: states.task(second), limit=60)
    await stopped(running)
    assert await committed(settings, partition) == 2
    for redis in (there, away):
        await redis.aclose()


async def test_a_record_that_can_not_be_folded_is_passed_over(stack):
    settings = await apart(stack.settings, "projection-odd")
    redis = connect(settings)
    odd, *others = (new_id() for _ in range(4))
    await redis.hset(key(settings, f"task:{odd}"), mapping={"v": "1", "s": b"no state"})
    partition = await told(settings, others[0], odd, *others[1:])
    states = States(redis, settings)
    projection = Projection(settings, states)
    await projection.start()
    running = asyncio.create_task(projection.run())
    for task_id in others:
        await until(lambda task_id=task_id: states.task(task_id), limit=60)
    assert not running.done()
    await stopped(running)
    assert await committed(settings, partition) == 4
    await redis.aclose()


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as taken:  # bound and not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
