"""Reads what a timer service looks after: first how far each timer got (`timers.state`), then the timers themselves.

`timers` is read from its beginning at each start and after each change of the group, and then for ever; nothing of a
partition fires before it was read up to where it ended after its states were read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

from backbone import slots
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, TimerError
from backbone.intake import unreadable
from backbone.kafka import aiokafka_config, name_of
from schemas import codec
from schemas.records import Timer, TimerState
from schemas.topics import TIMERS_STATE
from streams.bulk import Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from backbone.settings import Settings
    from schemas.errors import BarnabasError
    from streams.bulk import BulkProducer
    from streams.timer_book import TimerBook

_log = structlog.get_logger()

AT_ONCE = 1000
"""Records that are taken before other work has its turn."""
LARGEST = 950_000
"""Bytes of a timer. A task that is tried again fits in, and what it makes into the million that Kafka takes: else it
would be due for ever."""
LONGEST_ID = 1024
"""Bytes of a timer's id, which its state and its Fires hold more than once."""


class TimerReader:
    """Fills the book.

    Args:
        settings: where Kafka is.
        consumer: the group's member, subscribed to `timers`.
        book: what is filled.
        producer: takes the dead letters of what can't be read.
        changed: called when something may be due earlier than it was.

    Attributes:
        ready: set once the timers of the first partitions were read.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: AIOKafkaConsumer,
        book: TimerBook,
        producer: BulkProducer,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._book = book
        self._producer = producer
        self._changed = changed
        self._held: set[int] = set()
        self._new: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}
        self.ready = asyncio.Event()

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Begin with these partitions, of which `run` reads the states: aiokafka sends no heartbeat before this returns."""
        for partition in partitions:
            self._held.add(partition.partition)
            self._new.add(partition)
            self._book.loading(partition.partition)
        if not self._held:
            self.ready.set()

    def revoked(self, partition: TopicPartition) -> None:
        """Leave a partition to another service."""
        self._held.discard(partition.partition)
        self._new.discard(partition)
        self._ends.pop(partition, None)
        self._book.drop_partition(partition.partition)

    async def run(self) -> None:
        """Read states and timers, for ever."""
        while True:
            while self._new:
                await self._begin()
            for messages in (await self._consumer.getmany(timeout_ms=200, max_records=AT_ONCE)).values():
                for message in messages:
                    await self._take(message)
                self._changed()
            await self._reached()
            await asyncio.sleep(0)

    async def _begin(self) -> None:
        """Read the states of new partitions, and note up to where their timers are to be read."""
        new, self._new = self._new, set()
        async for message in self._states([partition.partition for partition in new]):
            await self._restore(message)
        ends = await self._consumer.end_offsets(new)
        self._ends |= {partition: end for partition, end in ends.items() if partition.partition in self._held}

    async def _reached(self) -> None:
        """Take up the partitions that were read to their end."""
        for partition, end in list(self._ends.items()):
            try:
                position = await self._consumer.position(partition)
            except IllegalStateError:
                continue  # it was revoked meanwhile
            if position >= end and self._ends.pop(partition, None) is not None:
                self._book.loaded(partition.partition)
                self._changed()
                if not self._ends:
                    _log.info("timers.loaded", timers=len(self._book))
                    self.ready.set()

    async def _states(self, numbers: list[int]) -> AsyncIterator[Any]:
        """Yield the records of these partitions of `timers.state`, up to where they end now."""
        # It begins at the earliest by `auto_offset_reset`: after `assign`, aiokafka lets `seek_to_beginning` be overtaken
        # by the default reset to the end, and nothing would be read.
        consumer = AIOKafkaConsumer(
            **aiokafka_config(self._settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            topic = name_of(self._settings, TIMERS_STATE)
            partitions = [TopicPartition(topic, number) for number in numbers]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for messages in (await consumer.getmany(timeout_ms=500, max_records=AT_ONCE)).values():
                    for message in messages:
                        yield message
                await asyncio.sleep(0)
        finally:
            await consumer.stop()

    async def _restore(self, message: Any) -> None:
        if message.partition not in self._held:
            return  # it was revoked since this was read
        if message.value is None:
            self._book.forget_state(message.partition, _key(message))
            return
        try:
            state = codec.decode(message.value, TimerState, message.headers)
        except codec.CodecError as error:
            await self._refuse(message, error)
        else:
            self._book.restore(message.partition, state)

    async def _take(self, message: Any) -> None:
        if message.partition not in self._held:
            return  # it was revoked since this was read
        if message.value is None:
            self._book.remove(message.partition, _key(message))
            return
        try:
            timer = _timer_of(message)
        except (codec.CodecError, TimerError) as error:
            self._book.put_unread(message.partition, _key(message))
            await self._refuse(message, error)
        else:
            self._book.put(message.partition, timer)

    async def _refuse(self, message: Any, error: BarnabasError) -> None:
        """Make a dead letter of what can't be read, and go on; a newer writer's record is read after an upgrade."""
        place = (message.topic, message.partition, message.offset)
        _log.warning(
            "timer.refused", topic=message.topic, partition=message.partition, offset=message.offset, error=str(error)
        )
        if not isinstance(error, codec.UnknownSchemaError):
            # Its key is made of its place, so that the same one at the next start is known as the same.
            letter = unreadable(*place, message.value, error, now_ms())
            (durable,) = await self._producer.send_all([Write(letter.topic, letter.key, letter.record)])
            if not durable:
                raise BrokerUnavailableError


def _timer_of(message: Any) -> Timer:
    """Return a timer that means something.

    Raises:
        CodecError: these bytes are no timer.
        TimerError: naming the field.
    """
    timer = codec.decode(message.value, Timer, message.headers)
    slots.check(timer)
    if timer.id != _key(message):
        raise TimerError("a timer's record has its id as the key", field="id")
    if len(message.key) > LONGEST_ID:
        raise TimerError(f"has {len(message.key)} bytes; at most {LONGEST_ID} may be an id", field="id")
    # Only what is large already is measured; JSON grows by being read: 1e15 is 1000000000000000.0.
    if len(message.value) > LARGEST // 8 and (size := len(codec.encode(timer))) > LARGEST:
        raise TimerError(f"has {size} bytes; at most {LARGEST} may be a timer", field="template")
    return timer


def _key(message: Any) -> str:
    return str((message.key or b"").decode(errors="replace"))
