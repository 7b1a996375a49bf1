"""The timer service: reads `timers`, and at each slot produces what its timer makes.

    the decision (`timers.state`)  ->  the task  ->  the Fire  ->  accounted for (`timers.state`)

Each is durable before the next. A crash between them repeats what was decided, with the same ids, which is nothing: the
outcome store knows the task, readers keep the first Fire of a slot. A partition of `timers` belongs to one service of
the group; should two believe that they own it, they make the same tasks. A one-off timer is removed once it has fired.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from backbone import slots
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, TimerError
from backbone.ids import derived_id
from backbone.kafka import Producer, aiokafka_config, name_of
from backbone.stamp import stamp
from schemas import codec
from schemas.records import Fire, FireOutcome, Misfire, Timer, TimerState
from schemas.tiers import Tier
from schemas.topics import DELIVERIES, TIMERS, TIMERS_FIRED, TIMERS_STATE, for_task
from streams.timer_book import TimerBook

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backbone.settings import Settings
    from backbone.slots import Decision
    from streams.timer_book import Entry

_log = structlog.get_logger()

IDLE_SECONDS = 60.0
AWAY_SECONDS = 0.5
"""Pause between tries while Kafka is away."""
AT_ONCE = 256
"""Timers that are fired at the same time."""


class TimerService:
    """Reads timers, waits, fires."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer(settings)
        self._consumer = AIOKafkaConsumer(
            **aiokafka_config(settings),
            group_id=f"{settings.topic_prefix}timers",
            enable_auto_commit=False,  # how far each timer got is in timers.state; timers is read whole at each start
            auto_offset_reset="earliest",
            group_instance_id=settings.group_instance or None,
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
        )
        self._book = TimerBook()
        self._loading: dict[TopicPartition, int] = {}
        self._changed = asyncio.Event()
        self._assigned = asyncio.Event()
        self._firing: set[asyncio.Task[None]] = set()
        self._work: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Join the group and begin to fire."""
        await self._producer.start()
        self._consumer.subscribe([name_of(self._settings, TIMERS)], listener=_Partitions(self))
        await self._consumer.start()
        self._work = [asyncio.create_task(self._read()), asyncio.create_task(self._fire())]
        await self._assigned.wait()

    async def stop(self) -> None:
        """Finish what is being fired and leave the group; what is due next is another's, or is done at the next start."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, *self._firing, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def crashed(self) -> BaseException:
        """Wait until reading or firing can't go on, and return why."""
        done, _ = await asyncio.wait(self._work, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().exception() or RuntimeError("the timer service ended by itself")

    async def assigned(self, partitions: list[TopicPartition]) -> None:
        """Look after these partitions: their states first, then their timers from the beginning."""
        for partition in partitions:
            self._book.loading(partition.partition)
        await self._load_states([partition.partition for partition in partitions])
        if partitions:
            self._loading |= await self._consumer.end_offsets(partitions)
            await self._consumer.seek_to_beginning(*partitions)
        self._assigned.set()

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Leave these partitions to another service."""
        for partition in partitions:
            self._loading.pop(partition, None)
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
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        self._restore(message)
        finally:
            await consumer.stop()

    def _restore(self, message: Any) -> None:
        if message.value is None:
            self._book.remove(message.key.decode())
            return
        self._book.restore(message.partition, codec.decode(message.value, TimerState, message.headers))

    async def _read(self) -> None:
        while True:
            for messages in (await self._consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    self._take(message)
            for partition, end in list(self._loading.items()):
                if await self._consumer.position(partition) >= end:
                    del self._loading[partition]
                    self._book.loaded(partition.partition)
                    self._changed.set()

    def _take(self, message: Any) -> None:
        if message.value is None:
            self._book.remove((message.key or b"").decode(errors="replace"))
            return
        try:
            timer = codec.decode(message.value, Timer, message.headers)
            slots.check(timer)
        except (codec.CodecError, TimerError) as error:
            _log.warning("timer.refused", partition=message.partition, offset=message.offset, error=str(error))
            return
        self._book.put(message.partition, timer)
        self._changed.set()

    async def _fire(self) -> None:
        while True:
            self._changed.clear()
            while len(self._firing) < AT_ONCE and (due := self._book.take(now_ms())):
                firing = asyncio.create_task(self._fire_timer(*due))
                self._firing.add(firing)
                firing.add_done_callback(self._fired)
            await self._wait()

    def _fired(self, firing: asyncio.Task[None]) -> None:
        self._firing.discard(firing)
        self._changed.set()
        if not firing.cancelled() and (fault := firing.exception()):
            _log.error("timer.fault", exc_info=fault)

    async def _wait(self) -> None:
        """Until the next timer is due, or something changes."""
        due = None if len(self._firing) >= AT_ONCE else self._book.next_due()
        seconds = IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(0.0, (due - now_ms()) / 1000))
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _fire_timer(self, timer: Timer, entry: Entry) -> None:
        """Account for the slots of a timer that are due, as far as Kafka lets us; what is left stays due."""
        last = entry.last
        try:
            if entry.firing is not None:
                await self._carry_out(timer, entry.firing)
                last = await self._account(timer, entry.firing.slot)
            for decision in slots.decide(timer, entry.after if last is None else last, now_ms()):
                fire = _fire_of(timer, decision)
                if fire.outcome is not FireOutcome.SKIPPED and _could_be_decided_anew(timer):
                    state = TimerState(
                        id=timer.id,
                        last_slot=entry.after if last is None else last,
                        revision=timer.revision,
                        firing=fire,
                    )
                    await self._producer.send(TIMERS_STATE, timer.id, state)
                await self._carry_out(timer, fire)
                last = await self._account(timer, decision.last)
        except BrokerUnavailableError as error:
            _log.warning("timer.waits", timer=timer.id, reason=error.code)
            await asyncio.sleep(AWAY_SECONDS)
        finally:
            self._book.account(timer.id, entry, last)

    async def _carry_out(self, timer: Timer, fire: Fire) -> None:
        if fire.outcome is not FireOutcome.SKIPPED:
            await self._make(timer, fire.slot)
        await self._producer.send(TIMERS_FIRED, timer.id, fire)

    async def _account(self, timer: Timer, last: int) -> int:
        if timer.at is None:
            state = TimerState(id=timer.id, last_slot=last, revision=timer.revision)
            await self._producer.send(TIMERS_STATE, timer.id, state)
        else:
            await self._producer.send(TIMERS, timer.id, None)
            if _could_be_decided_anew(timer):
                await self._producer.send(TIMERS_STATE, timer.id, None)
        return last

    async def _make(self, timer: Timer, slot: int) -> None:
        template = timer.template
        if template.delivery is not None:
            await self._producer.send(DELIVERIES, template.delivery.address, template.delivery)
        if template.task is not None:
            tier = template.task.tier or Tier.REALTIME
            task = stamp(
                # Owner and tenant are the timer's; a task that is tried again has its own id, key and times already.
                msgspec.structs.replace(template.task, owner=timer.owner, tenant=timer.tenant),
                task_id=_task_id(timer, slot),
                tier=tier,
                policy=self._settings.tiers[tier],
                now=slot,
            )
            await self._producer.send(for_task(task), task.key, task)


def _could_be_decided_anew(timer: Timer) -> bool:
    """Whether a slot that was decided to be fired might be skipped, were it decided again later."""
    return timer.at is None or timer.max_late is not None or timer.misfire is Misfire.SKIP


def _task_id(timer: Timer, slot: int) -> str:
    task = timer.template.task
    return task.id if task and task.id else derived_id(timer.id, slot)


def _fire_of(timer: Timer, decision: Decision) -> Fire:
    skipped = decision.outcome is FireOutcome.SKIPPED
    return Fire(
        timer_id=timer.id,
        slot=decision.slot,
        outcome=decision.outcome,
        at=now_ms(),
        to_slot=decision.last if decision.count > 1 else None,
        count=decision.count,
        late_by=decision.late_by,
        reason=decision.reason,
        task_id=None if skipped or timer.template.task is None else _task_id(timer, decision.slot),
    )


class _Partitions(ConsumerRebalanceListener):
    def __init__(self, service: TimerService) -> None:
        self._service = service

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._service.assigned(list(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._service.revoked(revoked)
