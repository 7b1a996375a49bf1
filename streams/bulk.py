"""A durable producer for many records at once: all are handed to librdkafka, then all acknowledgements are waited for.

Where each record is awaited by itself, as a tier's few events are, `backbone.kafka.Producer` is the one to use. Here a
record costs microseconds, since it has no task and no future of its own, and librdkafka makes the batches.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog
from confluent_kafka import KafkaException, Producer

from backbone.errors import BrokerUnavailableError
from backbone.kafka import HEADERS, name_of, producer_config
from schemas import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec
    from confluent_kafka import KafkaError, Message

    from backbone.settings import Settings
    from schemas.topics import Topic

_log = structlog.get_logger()

LINGER_MS = 1
POLL_SECONDS = 0.001
START_SECONDS = 10.0
_HEADERS: list[tuple[str, str | bytes | None]] = [*HEADERS]


class Write(NamedTuple):
    """A record on its way to a topic; None is a tombstone."""

    topic: Topic
    key: str
    record: msgspec.Struct | None


class BulkProducer:
    """Produces records together; used from one event loop.

    Its callbacks run in `poll`, which is called by whoever waits: a thread of its own would fight for the interpreter
    with the loop at every single acknowledgement.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        timeout = int(settings.produce_timeout.total_seconds() * 1000)
        self._client = Producer(
            {**producer_config(settings), "linger.ms": LINGER_MS, "message.timeout.ms": timeout},
        )

    async def start(self) -> None:
        """Find the brokers.

        Raises:
            BrokerUnavailableError: none answers.
        """
        try:
            await asyncio.to_thread(self._client.list_topics, timeout=START_SECONDS)
        except KafkaException as error:
            raise BrokerUnavailableError(f"no broker answers at {self._settings.kafka_bootstrap}") from error

    async def stop(self) -> None:
        """Wait for what is still on its way."""
        await asyncio.to_thread(self._client.flush, self._settings.produce_timeout.total_seconds())

    async def send_all(self, writes: Sequence[Write]) -> list[bool]:
        """Produce records, and wait until each is durable or given up.

        Records of one partition keep their order; no order holds between partitions.

        Returns:
            For each record whether it is on all in-sync replicas. One that is not may be in the log all the same.

        Raises:
            BrokerUnavailableError: this producer can go on no more, and wants to be made anew.
        """
        sent = _Sent(len(writes))
        for place, write in enumerate(writes):
            try:
                self._client.produce(
                    name_of(self._settings, write.topic),
                    None if write.record is None else codec.encode(write.record),
                    key=write.key,
                    headers=_HEADERS,
                    on_delivery=partial(sent.told, place),
                )
            except (BufferError, KafkaException) as error:  # the queue is full, or the record too large
                sent.refused(error)
        self._client.poll(0)
        while sent.waiting:
            await asyncio.sleep(POLL_SECONDS)
            self._client.poll(0)
        if sent.reason is not None:
            _log.warning("records.not_durable", count=sent.durable.count(False), reason=sent.reason)
        if sent.fatal:
            raise BrokerUnavailableError(f"the producer can't go on: {sent.reason}")
        return sent.durable


class _Sent:
    """What became of records that were handed over together."""

    def __init__(self, count: int) -> None:
        self.durable = [False] * count
        self.waiting = count
        self.reason: str | None = None
        self.fatal = False

    def told(self, place: int, error: KafkaError | None, _: Message) -> None:
        self.waiting -= 1
        if error is None:
            self.durable[place] = True
        else:
            self.reason = error.str()
            self.fatal = self.fatal or error.fatal()

    def refused(self, error: Exception) -> None:
        self.waiting -= 1
        self.reason = str(error)
