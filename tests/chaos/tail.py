"""Reads the topics plainly: no group, no commits, from their beginnings; once to the end, or on and on.

What is read is folded into a `Ledger`; who reads on and on also keeps when each sign of life came.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from backbone.intake import read_task
from backbone.kafka import aiokafka_config, name_of, topic_of
from schemas import codec, topics
from schemas.records import Fire, Task, TaskEvent
from tests.chaos.faults import MODEL, TIMERS
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.stillness import Sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.settings import Settings

READ = (
    *topics.TASKS.values(),
    *topics.INFERENCE.values(),
    topics.RESULTS,
    topics.TIMERS,
    topics.TIMERS_STATE,
    topics.TIMERS_FIRED,
    topics.DEAD_LETTERS,
)


class Tail:
    """Reads on and on.

    Attributes:
        ledger: what was read so far.
        signs: the signs of life among it, as they came.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.ledger = Ledger()
        self.signs: list[Sign] = []

    async def run(self) -> None:
        """Read until cancelled."""
        consumer = await _consumer(self._settings)
        try:
            while True:
                async for entry, message in _entries(self._settings, consumer):
                    self.ledger.add(entry)
                    self._notice(entry, message)
        finally:
            await consumer.stop()

    def _notice(self, entry: Entry, message: Any) -> None:
        match entry.record:
            case TaskEvent() as event if event.status.terminal:
                asked = event.kind.startswith(topics.INFERENCE_KINDS)
                source, worker = MODEL if asked else event.tier.value, event.worker
            case Fire():
                source, worker = TIMERS, ""
            case _:
                return
        self.signs.append(Sign(source, message.partition, worker, message.timestamp / 1000, time.time()))


async def read_whole(settings: Settings) -> Ledger:
    """Return what all topics say, from their beginnings to where they end now."""
    ledger = Ledger()
    consumer = await _consumer(settings)
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            async for entry, _message in _entries(settings, consumer):
                ledger.add(entry)
    finally:
        await consumer.stop()
    return ledger


async def _consumer(settings: Settings) -> AIOKafkaConsumer:
    # By `auto_offset_reset`, for aiokafka ignores `seek_to_beginning` after `assign`.
    consumer = AIOKafkaConsumer(
        **aiokafka_config(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([TopicPartition(name_of(settings, topic), n) for topic in READ for n in range(settings.partitions)])
    return consumer


async def _entries(settings: Settings, consumer: AIOKafkaConsumer) -> AsyncIterator[tuple[Entry, Any]]:
    """Yield what has come, with the message it came in; what is no record is passed over."""
    for messages in (await consumer.getmany(timeout_ms=200)).values():
        for message in messages:
            entry = _entry(settings, message)
            if entry is not None:
                yield entry, message
        await asyncio.sleep(0)  # a long batch does not hold up who submits


def _entry(settings: Settings, message: Any) -> Entry | None:
    topic = topic_of(settings, message.topic)
    key = (message.key or b"").decode()
    if message.value is None:
        return Entry(topic, message.offset, key, None)
    try:
        if topic.record is Task:
            record: Any = read_task(
                settings,
                message.topic,
                message.partition,
                message.offset,
                message.timestamp,
                message.key,
                message.value,
                message.headers,
            )
        else:
            record = codec.decode(message.value, topic.record, message.headers)
    except codec.CodecError:
        return None
    return Entry(topic, message.offset, key, record)
