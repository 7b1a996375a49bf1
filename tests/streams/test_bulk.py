"""Many records at once on the real Kafka: each is durable, or said not to be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backbone.errors import BrokerUnavailableError
from schemas import topics
from schemas.records import Cancel
from streams.bulk import BulkProducer, Write
from tests.streams.timer_tools import whole
from tests.support import apart


def cancel(number: int, reason: str = "") -> Write:
    return Write(topics.CANCELLATIONS, f"key {number % 3}", Cancel(task_id=str(number), by="ada", at=1, reason=reason))


@pytest.fixture
async def own(stack):
    return await apart(stack.settings, "bulk")


@pytest.fixture
async def producer(own):
    producer = BulkProducer(own)
    await producer.start()
    yield producer
    await producer.stop()


async def test_records_are_durable_and_in_order_within_a_key(producer, own):
    assert await producer.send_all([cancel(number) for number in range(500)]) == [True] * 500
    found = [int(record.task_id) for key, record in await whole(own, topics.CANCELLATIONS) if key == "key 1"]
    assert found == list(range(1, 500, 3))


async def test_one_that_is_too_large_is_said_not_to_be_durable_and_the_others_are(producer):
    large = cancel(1, "x" * 2_000_000)
    assert await producer.send_all([cancel(0), large, cancel(2)]) == [True, False, True]


async def test_nothing_to_send_is_nothing(producer):
    assert await producer.send_all([]) == []


async def test_without_a_broker_it_does_not_start_and_what_is_sent_is_not_durable(own, monkeypatch):
    monkeypatch.setattr("streams.bulk.START_SECONDS", 0.5)
    nowhere = own.model_copy(update={"kafka_bootstrap": "127.0.0.1:9", "produce_timeout": timedelta(milliseconds=300)})
    producer = BulkProducer(nowhere)
    with pytest.raises(BrokerUnavailableError):
        await producer.start()
    assert await producer.send_all([cancel(0)]) == [False]
    await producer.stop()
