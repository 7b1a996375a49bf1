"""The live end of the log: one consumer without a group, on a thread, that hands batches of records to the loop.

Of `results` and `inference.tokens` it reads the partitions that somebody hears of, see `Partitions`. The thread waits for a first message and takes what else is there, so batches add no latency. At most a few batches
wait for the loop; then the thread reads no further, and Kafka keeps the rest.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaException, TopicPartition

from backbone.errors import BrokerUnavailableError
from backbone.kafka import name_of
from connectors.log import BATCH, TIMEOUT, Logged, Positions, consumer, ends_of, read_message, read_whole
from schemas.codec import UnknownSchemaError
from schemas.topics import KINDS, RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from confluent_kafka import Consumer, Message

    from backbone.settings import Settings

PORTION_BYTES = 256 * 1024

_log = structlog.get_logger()

POLL_SECONDS = 0.02
"""How long the thread waits for a message: so long a partition that is attached waits to be read."""
IN_FLIGHT = 8
"""Batches that may wait for the loop."""
PROBE_SECONDS = 2.0
"""How often the broker is asked whether it is there while nothing arrives."""


class Tail:
    """Reads partitions of `results` and `inference.tokens` from their ends on, and `kinds` whole."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deliver: Callable[[list[Logged]], None] | None = None
        self._stopping = threading.Event()
        self._room = threading.BoundedSemaphore(IN_FLIGHT)
        self._thread: threading.Thread | None = None
        self._consumer: Consumer | None = None
        self._asker: Consumer | None = None
        self._changes: queue.SimpleQueue[Callable[[Consumer], None]] = queue.SimpleQueue()
        self._failure: asyncio.Future[None] | None = None
        self.connected = False
        """Whether the broker answered lately; set from the thread."""
        self.blocked: str | None = None
        """Why some partition is not read any further, if one is not."""
        self._shut: set[tuple[str, int]] = set()

    async def open(self) -> tuple[str, list[Logged]]:
        """Read the kinds.

        Returns:
            The id of the Kafka cluster, and the kinds announced until now.

        Raises:
            BrokerUnavailableError: the broker did not answer.
        """
        return await asyncio.to_thread(self._open)

    async def attach(self, partitions: Iterable[int], expect: Callable[[Positions], None]) -> None:
        """Read partitions from where they end now.

        Args:
            partitions: of them nothing may be read yet.
            expect: called in the loop with the first offsets, before any record of theirs is delivered.

        Raises:
            BrokerUnavailableError: the broker did not answer.
        """
        positions = await asyncio.to_thread(self._ends, self._places(partitions))
        expect(positions)
        self._changes.put(lambda reader: self._assign(reader, positions))

    def detach(self, partitions: Iterable[int]) -> None:
        """Read partitions no more."""
        places = self._places(partitions)
        self._changes.put(lambda reader: self._unassign(reader, places))

    def _ends(self, places: list[tuple[str, int]]) -> Positions:
        # A consumer of its own: one that is being polled is not to be asked anything from another thread.
        self._asker = self._asker or consumer(self._settings)
        return ends_of(self._asker, places)

    def _assign(self, reader: Consumer, positions: Positions) -> None:
        open_places = [TopicPartition(*place, at) for place, at in positions.items() if place not in self._shut]
        reader.incremental_assign(open_places)

    def _unassign(self, reader: Consumer, places: list[tuple[str, int]]) -> None:
        reader.incremental_unassign([TopicPartition(*place) for place in places if place not in self._shut])

    def _places(self, partitions: Iterable[int]) -> list[tuple[str, int]]:
        names = [name_of(self._settings, topic) for topic in (RESULTS, TOKENS)]
        return [(name, number) for number in partitions for name in names]

    @property
    def _reader(self) -> Consumer:
        if self._consumer is None:
            raise RuntimeError("open the tail first")
        return self._consumer

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
        for one in (self._consumer, self._asker):
            if one is not None:
                await asyncio.to_thread(one.close)
        self._consumer = self._asker = None

    async def failed(self) -> None:
        """Wait until reading can't go on, and raise why."""
        if self._failure is None:
            raise RuntimeError("start the tail first")
        await self._failure

    def _open(self) -> tuple[str, list[Logged]]:
        self._consumer = consumer(self._settings)
        kinds, after_kinds = read_whole(self._settings, KINDS)
        self._consumer.assign(
            [TopicPartition(topic, number, offset) for (topic, number), offset in after_kinds.items()]
        )
        try:
            cluster = self._consumer.list_topics(name_of(self._settings, KINDS), timeout=TIMEOUT).cluster_id
        except KafkaException as error:
            raise BrokerUnavailableError from error
        self.connected = True
        return cluster or "", kinds

    def _run(self, loop: asyncio.AbstractEventLoop, failure: asyncio.Future[None]) -> None:
        try:
            self._read(loop)
        except Exception as error:  # noqa: BLE001 - whatever it is, the edge must hear of it
            loop.call_soon_threadsafe(failure.set_exception, error)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        reader = self._reader
        probed = time.monotonic()
        while not self._stopping.is_set():
            while not self._changes.empty():
                self._changes.get()(reader)
            first = reader.poll(POLL_SECONDS)
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
        for message in messages:
            place = message.topic() or "", message.partition() or 0
            if message.error() is not None or place in self._shut:
                continue  # an error of a connection; librdkafka makes it anew, and the probe tells whether it could
            try:
                logged = read_message(self._settings, message)
            except UnknownSchemaError as error:
                # A newer writer's record is not bad data: read on from here once this edge is upgraded.
                self.blocked = f"{message.topic()}-{message.partition()} at {message.offset()}: {error.message}"
                _log.error("tail.blocked", topic=message.topic(), partition=message.partition(), error=error.message)
                reader.incremental_unassign([TopicPartition(*place)])
                self._shut.add(place)
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
