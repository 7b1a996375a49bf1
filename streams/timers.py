"""The timer service: reads `timers`, and at each slot produces what its timer makes.

    the decision (`timers.state`)  ->  the task  ->  the Fire  ->  accounted for (`timers.state`)

Each is durable before the next. A crash between them repeats what was decided, with the same ids, which is nothing: the
outcome store knows the task, readers keep the first Fire of a slot. A partition of `timers` belongs to one service of
the group; should two believe that they own it, they make the same tasks. A one-off timer is removed once it has fired.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from backbone import slots
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, TimerError
from backbone.ids import derived_id
from backbone.intake import unreadable
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
    from backbone.telemetry import Readiness
    from schemas.errors import BarnabasError
    from streams.timer_book import Entry

_log = structlog.get_logger()

IDLE_SECONDS = 60.0
AWAY_SECONDS = 0.5
"""Pause between tries while Kafka is away."""
FAULT_SECONDS = 10.0
STILL_SECONDS = 2.0
AT_ONCE = 256
"""Timers that are fired at the same time."""


class TimerService:
    """Reads timers, waits, fires."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness
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
        self._sure: set[int] = set()
        self._beat = time.monotonic()
        self._changed = asyncio.Event()
        self._assigned = asyncio.Event()
        self._firing: set[asyncio.Task[None]] = set()
        self._work: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Join the group and begin to fire."""
        await self._producer.start()
        self._consumer.subscribe([name_of(self._settings, TIMERS)], listener=_Partitions(self))
        await self._consumer.start()
        self._work = [asyncio.create_task(work) for work in (self._pulse(), self._read(), self._fire())]
        await self._assigned.wait()
        self._readiness.is_ready()
        _log.info("service.ready")

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
        _log.info("timers.assigned", partitions=sorted(p.partition for p in partitions))
        self._assigned.set()

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Leave these partitions to another service."""
        self._sure.clear()
        for partition in partitions:
            self._loading.pop(partition, None)
            self._book.drop_partition(partition.partition)

    async def _load_states(self, numbers: list[int]) -> None:
        if not numbers:
            return
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
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        await self._restore(message)
        finally:
            await consumer.stop()

    async def _restore(self, message: Any) -> None:
        if message.value is None:
            self._book.remove(_key(message))
            return
        try:
            state = codec.decode(message.value, TimerState, message.headers)
        except codec.CodecError as error:
            await self._refuse(message, error)
        else:
            self._book.restore(message.partition, state)

    async def _read(self) -> None:
        while True:
            for messages in (await self._consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    await self._take(message)
            for partition, end in list(self._loading.items()):
                with suppress(IllegalStateError):  # it was revoked meanwhile
                    if (
                        await self._consumer.position(partition) >= end
                        and self._loading.pop(partition, None) is not None
                    ):
                        self._book.loaded(partition.partition)
                        self._changed.set()

    async def _take(self, message: Any) -> None:
        if message.value is None:
            self._book.remove(_key(message))
            return
        try:
            timer = codec.decode(message.value, Timer, message.headers)
            slots.check(timer)
        except (codec.CodecError, TimerError) as error:
            await self._refuse(message, error)
        else:
            self._book.put(message.partition, timer)
            self._changed.set()

    async def _refuse(self, message: Any, error: BarnabasError) -> None:
        """Make a dead letter of what can't be read, and go on; a newer writer's record is read after an upgrade."""
        place = (message.topic, message.partition, message.offset)
        _log.warning(
            "timer.refused", topic=message.topic, partition=message.partition, offset=message.offset, error=str(error)
        )
        if not isinstance(error, codec.UnknownSchemaError):
            # Its key is made of its place, so that the same one at the next start is known as the same.
            letter = unreadable(*place, message.value, error, now_ms())
            await self._producer.send(letter.topic, letter.key, letter.record)

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
        try:
            await self._fire_due(timer, entry)
        except BrokerUnavailableError as error:
            _log.warning("timer.waits", timer=timer.id, reason=error.code)
            await asyncio.sleep(AWAY_SECONDS)
        except Exception:  # noqa: BLE001
            # A fault of ours, which may be there again at once: no hot loop, and the other timers go on.
            _log.exception("timer.fault", timer=timer.id)
            await asyncio.sleep(FAULT_SECONDS)
        finally:
            self._book.give_back(timer.id, entry)

    async def _fire_due(self, timer: Timer, entry: Entry) -> None:
        decided_at = now_ms()
        firing = entry.firing
        decisions = slots.decide(timer, entry.after if firing is None else firing.slot, decided_at)
        on_time = firing is None and all(decision.outcome is FireOutcome.FIRED for decision in decisions)
        if self._stood_still():
            self._sure.clear()
        if not on_time or entry.partition not in self._sure:
            if not await self._owns(entry.partition):
                await asyncio.sleep(AWAY_SECONDS)
                return
            self._sure.add(entry.partition)
        if firing is not None:
            await self._carry_out(timer, firing)
            await self._account(timer, entry, firing.slot)
        for decision in decisions:
            fire = _fire_of(timer, decision)
            if fire.outcome is not FireOutcome.SKIPPED and _could_be_decided_anew(timer):
                state = TimerState(id=timer.id, last_slot=entry.after, revision=timer.revision, firing=fire)
                await self._producer.send(TIMERS_STATE, timer.id, state)
                entry.firing = fire
            if now_ms() - decided_at > slots.LATE_MS:
                return  # this process may have been stopped meanwhile: what is left is decided anew, if it is still ours
            await self._carry_out(timer, fire)
            await self._account(timer, entry, decision.last)

    def _stood_still(self) -> bool:
        """Whether this process was stopped for a while just now: then a successor may have its partitions."""
        return time.monotonic() - self._beat > STILL_SECONDS

    async def _pulse(self) -> None:
        while True:
            if self._stood_still():
                self._sure.clear()
            self._beat = time.monotonic()
            await asyncio.sleep(STILL_SECONDS / 4)

    async def _owns(self, partition: int) -> bool:
        """Whether the group still says so; one that stood still may have been succeeded without knowing."""
        try:
            # The broker refuses a commit of an older generation. All of `timers` is read at each start, so 0 says nothing.
            await self._consumer.commit({TopicPartition(name_of(self._settings, TIMERS), partition): 0})
        except KafkaError as error:
            _log.warning("timers.not_ours", partition=partition, reason=type(error).__name__)
            return False
        return True

    async def _carry_out(self, timer: Timer, fire: Fire) -> None:
        if fire.outcome is not FireOutcome.SKIPPED:
            await self._make(timer, fire.slot)
        await self._producer.send(TIMERS_FIRED, timer.id, fire)

    async def _account(self, timer: Timer, entry: Entry, last: int) -> None:
        if timer.at is None:
            state = TimerState(id=timer.id, last_slot=last, revision=timer.revision)
            await self._producer.send(TIMERS_STATE, timer.id, state)
        else:
            await self._producer.send(TIMERS, timer.id, None)
            if _could_be_decided_anew(timer):
                await self._producer.send(TIMERS_STATE, timer.id, None)
        entry.last, entry.firing = last, None

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


def _key(message: Any) -> str:
    return str((message.key or b"").decode(errors="replace"))


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
