"""The live end of the log: one consumer without a group, on a thread, that hands batches of records to the loop.

The thread waits for a first message and takes what else is there, so batches add no latency. At most a few batches
wait for the loop; then the thread reads no further, and Kafka keeps the rest.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaException, TopicPartition

from backbone.kafka import name_of
from connectors.log import BATCH, Logged, Positions, consumer, ends, read_message, read_whole
from schemas.codec import UnknownSchemaError
from schemas.topics import KINDS, RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Consumer, Message

    from backbone.settings import Settings

PORTION_BYTES = 256 * 1024

_log = structlog.get_logger()

IN_FLIGHT = 8
"""Batches that may wait for the loop."""
PROBE_SECONDS = 2.0
"""How often the broker is asked whether it is there while nothing arrives."""


class Tail:
    """Reads `results` and `inference.tokens` from their ends on, and `kinds` whole."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deliver: Callable[[list[Logged]], None] | None = None
        self._stopping = threading.Event()
        self._room = threading.BoundedSemaphore(IN_FLIGHT)
        self._thread: threading.Thread | None = None
        self._consumer: Consumer | None = None
        self._failure: asyncio.Future[None] | None = None
        self.connected = False
        """Whether the broker answered lately; set from the thread."""
        self.blocked: str | None = None
        """Why some partition is not read any further, if one is not."""

    async def open(self) -> tuple[Positions, list[Logged]]:
        """Find out where the log ends, and read the kinds.

        Returns:
            The first offsets that will be delivered, and the kinds announced until now.

        Raises:
            BrokerUnavailableError: the broker did not answer.
        """
        return await asyncio.to_thread(self._open)

    def start(self, deliver: Callable[[list[Logged]], None]) -> None:
        """Begin to deliver, after `open`.

        Args:
            deliver: called in the loop with each batch, in log order within each partition.
        """
        self._deliver = deliver
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(loop, self._failure), name="tail", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop reading."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)
            self._consumer = None

    async def failed(self) -> None:
        """Wait until reading can't go on, and raise why."""
        if self._failure is None:
            raise RuntimeError("start the tail first")
        await self._failure

    def _open(self) -> tuple[Positions, list[Logged]]:
        self._consumer = consumer(self._settings)
        kinds, after_kinds = read_whole(self._settings, KINDS)
        positions = ends(self._settings, self._consumer, (RESULTS, TOKENS))
        self._consumer.assign(
            [TopicPartition(topic, number, offset) for (topic, number), offset in {**positions, **after_kinds}.items()]
        )
        self.connected = True
        return positions, kinds

    def _run(self, loop: asyncio.AbstractEventLoop, failure: asyncio.Future[None]) -> None:
        try:
            self._read(loop)
        except Exception as error:  # noqa: BLE001 - whatever it is, the edge must hear of it
            loop.call_soon_threadsafe(failure.set_exception, error)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        reader = self._consumer
        if reader is None:
            raise RuntimeError("open the tail first")
        probed = time.monotonic()
        while not self._stopping.is_set():
            first = reader.poll(0.2)
            if first is None:
                if time.monotonic() - probed > PROBE_SECONDS:
                    self._probe(reader)
                    probed = time.monotonic()
                continue
            for portion in _portions([first, *reader.consume(BATCH, 0)]):
                if not (batch := self._records(reader, portion)):
                    continue
                self.connected = True
                while not self._room.acquire(timeout=0.2):
                    if self._stopping.is_set():
                        return
                loop.call_soon_threadsafe(self._hand_over, loop, batch)

    def _records(self, reader: Consumer, messages: list[Message]) -> list[Logged]:
        batch: list[Logged] = []
        shut: set[tuple[str | None, int | None]] = set()
        for message in messages:
            place = message.topic(), message.partition()
            if message.error() is not None or place in shut:
                continue  # an error of a connection; librdkafka makes it anew, and the probe tells whether it could
            try:
                logged = read_message(self._settings, message)
            except UnknownSchemaError as error:
                # A newer writer's record is not bad data: read on from here once this edge is upgraded.
                self.blocked = f"{message.topic()}-{message.partition()} at {message.offset()}: {error.message}"
                _log.error("tail.blocked", topic=message.topic(), partition=message.partition(), error=error.message)
                reader.incremental_unassign([TopicPartition(place[0] or "", place[1] or 0)])
                shut.add(place)
                continue
            if logged is not None:
                batch.append(logged)
        return batch

    def _probe(self, reader: Consumer) -> None:
        try:
            reader.get_watermark_offsets(TopicPartition(name_of(self._settings, KINDS), 0), timeout=1.0, cached=False)
        except KafkaException as error:
            if self.connected:
                _log.warning("tail.broker_away", error=error.args[0].str())
            self.connected = False
        else:
            self.connected = True

    def _hand_over(self, loop: asyncio.AbstractEventLoop, batch: list[Logged]) -> None:
        try:
            if self._deliver is not None:
                self._deliver(batch)
        finally:
            # Those who were told now write first; only then comes more, or it would pile up for quick readers too.
            loop.call_soon(lambda: loop.call_soon(self._room.release))


def _portions(messages: list[Message]) -> Iterator[list[Message]]:
    """Cut a batch into pieces of about `PORTION_BYTES`."""
    portion: list[Message] = []
    size = 0
    for message in messages:
        portion.append(message)
        size += len(message.value() or b"")
        if size >= PORTION_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
