"""Hear every cancellation, from now on: each worker reads the whole topic, in no group, and interrupts what it runs.

Only to save work: whether a task is cancelled is decided by the outcome store, before the record is written.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from backbone.kafka import aiokafka_config, name_of
from schemas import codec
from schemas.records import Cancel
from schemas.topics import CANCELLATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.settings import Settings

_log = structlog.get_logger()

AWAY_SECONDS = 0.5
"""Pause between tries while Kafka is away."""


async def listen(settings: Settings, cancel: Callable[[str], object]) -> None:
    """Call `cancel` with the id of each task that is cancelled, until this is cancelled itself."""
    consumer = await _connected(settings)
    try:
        topic = name_of(settings, CANCELLATIONS)
        consumer.assign([TopicPartition(topic, number) for number in range(settings.partitions)])
        await consumer.seek_to_end()
        async for message in consumer:
            try:
                record = codec.decode(message.value, Cancel, message.headers)
            except codec.CodecError as error:
                _log.warning(
                    "cancellation.unreadable", partition=message.partition, offset=message.offset, error=str(error)
                )
                continue
            cancel(record.task_id)
    finally:
        await consumer.stop()


async def _connected(settings: Settings) -> AIOKafkaConsumer:
    """Return a consumer that reaches the broker, however long that is away: whoever works is not ended by it."""
    while True:
        consumer = AIOKafkaConsumer(**aiokafka_config(settings), group_id=None, enable_auto_commit=False)
        try:
            await consumer.start()
        except KafkaError as error:
            _log.warning("cancellations.unheard", reason=type(error).__name__)
            await consumer.stop()
            await asyncio.sleep(AWAY_SECONDS)
        else:
            return consumer
