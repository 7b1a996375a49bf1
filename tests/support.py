"""What tests on the real stack share: reading a topic from now on, producing, and services beside the run's servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient

from backbone.kafka import HEADERS, aiokafka_config, create_topics, librdkafka_config, name_of
from barnabas.local.stack import LocalStack
from schemas import codec
from schemas.topics import ALL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import msgspec

    from backbone.settings import Settings
    from schemas.topics import Topic

JSON_HEADERS = [(codec.CONTENT_TYPE, codec.JSON)]


async def apart(settings: Settings, name: str) -> Settings:
    """Return settings with topics of one's own, so that services that other tests run take no part."""
    own = settings.model_copy(update={"topic_prefix": f"{name}."})
    await create_topics(own)
    admin = AdminClient(librdkafka_config(own))
    names = {name_of(own, topic) for topic in ALL}

    async def led() -> bool:
        found = (await asyncio.to_thread(admin.list_topics, timeout=5)).topics
        parts = [part for topic in names & found.keys() for part in found[topic].partitions.values()]
        return len(parts) == len(names) * own.partitions and all(part.leader >= 0 for part in parts)

    # The broker says that a topic is made before it leads it; under load a first record would wait in vain.
    await until(led, limit=60)
    return own


def beside(settings: Settings, home: Path, *services: str, **more: Any) -> LocalStack:
    """Return a stack of just these services, on the Kafka and Valkey that the settings name."""
    theirs = settings.model_copy(update={"home": home, **more})
    theirs.model_fields_set.update({"kafka_bootstrap", "redis_url", "topic_prefix", *more})
    return LocalStack(theirs, only=services)


async def until(condition: Callable[[], Awaitable[Any]], limit: float = 60) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(limit):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.02)


class Log:
    """Reads a topic from now on.

    Attributes:
        records: what was read so far.
        places: where each of them lies: Kafka's own record, with its partition, offset and timestamp.
    """

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._topic = topic
        self._settings = settings
        self._consumer = AIOKafkaConsumer(**aiokafka_config(settings), group_id=None, enable_auto_commit=False)
        self.records: list[Any] = []
        self.places: list[Any] = []

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        name = name_of(self._settings, self._topic)
        partitions = [TopicPartition(name, number) for number in range(self._settings.partitions)]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_end()
        # The seek is lazy: where reading begins is settled now, not at the first read.
        for partition in partitions:
            await self._consumer.position(partition)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def until(self, enough: Callable[[list[Any]], Any], limit: float = 60) -> list[Any]:
        """Read until it is enough, and return all that was read; null values are left out."""
        async with asyncio.timeout(limit):
            while not enough(self.records):
                for messages in (await self._consumer.getmany(timeout_ms=100)).values():
                    whole = [message for message in messages if message.value is not None]
                    self.records += [codec.decode(m.value, self._topic.record, m.headers) for m in whole]
                    self.places += whole
        return self.records


async def produce_bytes(settings: Settings, topic: Topic, *values: bytes, key: bytes | None = None) -> None:
    """Produce values as JSON, as any client may; a compacted topic wants a key."""
    async with AIOKafkaProducer(**aiokafka_config(settings)) as producer:
        sent = [await producer.send(name_of(settings, topic), value, key=key, headers=JSON_HEADERS) for value in values]
        await asyncio.gather(*sent)


async def produce(settings: Settings, topic: Topic, key: str, record: msgspec.Struct | None) -> None:
    """Produce a record, or a tombstone."""
    async with AIOKafkaProducer(**aiokafka_config(settings)) as producer:
        value = None if record is None else codec.encode(record)
        await producer.send_and_wait(name_of(settings, topic), value, key=key.encode(), headers=HEADERS)
