"""The timer service: reads `timers`, and at each slot produces the task, then the Fire, then the state.

A crash between these repeats the same ids, which is nothing: the outcome store knows the task, readers keep the first
Fire of a slot. A partition of `timers` belongs to one service of the group; should two believe that they own it, they
make the same tasks. Tombstones remove: a one-off timer is removed once it has fired.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError
from backbone.ids import derived_id
from backbone.kafka import Producer, aiokafka_config, name_of
from backbone.stamp import stamp
from schemas import codec
from schemas.records import Fire, FireOutcome, Timer, TimerState
from schemas.tiers import Tier
from schemas.topics import DELIVERIES, TIMERS, TIMERS_FIRED, TIMERS_STATE, for_kind
from streams import slots
from streams.errors import TimerError
from streams.timer_book import TimerBook

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backbone.settings import Settings

_log = structlog.get_logger()

LATE_MS = 1000
"""A slot that is fired later than this is recorded as late."""
IDLE_SECONDS = 60.0
AWAY_SECONDS = 0.5


class TimerService:
    """Reads timers, waits, fires."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(settings)
        self._consumer = AIOKafkaConsumer(
            **aiokafka_config(settings),
            group_id=f"{settings.topic_prefix}timers",
            enable_auto_commit=False,  # what was fired is in timers.state; timers is read whole at each start
            auto_offset_reset="earliest",
            group_instance_id=settings.group_instance or None,
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
        )
        self._book = TimerBook()
        self._changed = asyncio.Event()
        self._work: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Join the group and begin to fire."""
        await self._producer.start()
        self._consumer.subscribe([name_of(self._settings, TIMERS)], listener=_Partitions(self))
        await self._consumer.start()
        self._work = [asyncio.create_task(self._read()), asyncio.create_task(self._fire())]

    async def stop(self) -> None:
        """Leave the group; what is due is another's, or is done at the next start."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def crashed(self) -> BaseException:
        """Wait until reading or firing can't go on, and return why."""
        done, _ = await asyncio.wait(self._work, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().exception() or RuntimeError("the timer service ended by itself")

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Look after these partitions: their states first, then their timers from the beginning."""
        numbers = [partition.partition for partition in partitions]
        await self._load_states(numbers)
        for partition in partitions:
            await self._consumer.seek_to_beginning(partition)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Leave these partitions to another service."""
        for partition in partitions:
            self._book.drop_partition(partition.partition)

    async def _load_states(self, numbers: list[int]) -> None:
        if not numbers:
            return
        consumer = AIOKafkaConsumer(**aiokafka_config(self._settings), group_id=None, enable_auto_commit=False)
        await consumer.start()
        try:
            topic = name_of(self._settings, TIMERS_STATE)
            partitions = [TopicPartition(topic, number) for number in numbers]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            await consumer.seek_to_beginning(*partitions)
            while any([await consumer.position(p) < ends[p] for p in partitions]):
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        if message.value is not None:
                            state = codec.decode(message.value, TimerState, message.headers)
                            self._book.account(state.id, state.last_slot)
        finally:
            await consumer.stop()

    async def _read(self) -> None:
        async for message in self._consumer:
            timer_id = (message.key or b"").decode(errors="replace")
            if message.value is None:
                self._book.remove(timer_id)
            else:
                try:
                    timer = codec.decode(message.value, Timer, message.headers)
                    slots.check(timer)
                except (codec.CodecError, TimerError) as error:
                    _log.warning("timer.refused", timer=timer_id, offset=message.offset, error=str(error))
                    continue
                self._book.put(message.partition, timer)
            self._changed.set()

    async def _fire(self) -> None:
        while True:
            self._changed.clear()
            due = self._book.pop_due(now_ms())
            if due is None:
                await self._wait()
                continue
            timer, slot = due
            try:
                await self._fire_slot(timer, slot)
            except BrokerUnavailableError as error:
                _log.warning("timer.waits", timer=timer.id, reason=error.code)
                await asyncio.sleep(AWAY_SECONDS)

    async def _wait(self) -> None:
        """Until the next slot, or until a timer changes."""
        due = self._book.next_due()
        seconds = IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(0.0, (due - now_ms()) / 1000))
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _fire_slot(self, timer: Timer, slot: int) -> None:
        """Produce the task, then the Fire, then the state: in this order, each durable before the next."""
        task_id = await self._make(timer, slot)
        now = now_ms()
        late = now - slot > LATE_MS
        fire = Fire(
            timer_id=timer.id,
            slot=slot,
            at=now,
            outcome=FireOutcome.LATE if late else FireOutcome.FIRED,
            late_by=now - slot if late else None,
            task_id=task_id,
        )
        await self._producer.send(TIMERS_FIRED, timer.id, fire)
        if timer.at is None:
            state = TimerState(id=timer.id, last_slot=slot, revision=timer.revision)
            await self._producer.send(TIMERS_STATE, timer.id, state)
            self._book.account(timer.id, slot)
        else:
            await self._producer.send(TIMERS, timer.id, None)
            self._book.remove(timer.id)

    async def _make(self, timer: Timer, slot: int) -> str | None:
        template = timer.template
        if template.delivery is not None:
            await self._producer.send(DELIVERIES, template.delivery.address, template.delivery)
            return None
        if template.task is None:
            raise TimerError(field="template")
        tier = template.task.tier or Tier.REALTIME
        task = stamp(
            # Owner and tenant are the timer's; a task that is tried again has its own id, key and times already.
            msgspec.structs.replace(template.task, owner=timer.owner, tenant=timer.tenant),
            task_id=derived_id(timer.id, slot),
            tier=tier,
            policy=self._settings.tiers[tier],
            now=slot,
        )
        await self._producer.send(for_kind(task.kind, tier), task.key, task)
        return task.id


class _Partitions(ConsumerRebalanceListener):
    def __init__(self, service: TimerService) -> None:
        self._service = service

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._service.assigned(assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._service.revoked(revoked)
