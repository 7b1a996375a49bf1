"""The timer service: reads `timers`, and at each slot produces what its timer makes.

A partition of `timers` belongs to one service of the group. `timer_reader` fills `timer_book`; `timer_waves` takes from
it what is due and does what `timer_steps` says, as long as `timer_ownership` is sure that the partition is still ours;
should two services believe that all the same, they make the same tasks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

from backbone.clock import now_ms
from backbone.kafka import MEMBERSHIP, aiokafka_config, name_of
from schemas.topics import TIMERS
from streams.bulk import BulkProducer
from streams.timer_book import TimerBook
from streams.timer_ownership import Ownership
from streams.timer_reader import TimerReader
from streams.timer_waves import Waves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import TopicPartition

    from backbone.settings import Settings
    from backbone.telemetry import Readiness

_log = structlog.get_logger()


class TimerService:
    """Reads timers, waits, fires.

    Args:
        settings: where Kafka is.
        readiness: told when the timers of the first partitions are read.
        now: the clock, in ms since the epoch.
        producer: takes all records that are written.
    """

    def __init__(
        self,
        settings: Settings,
        readiness: Readiness,
        *,
        now: Callable[[], int] = now_ms,
        producer: BulkProducer | None = None,
    ) -> None:
        self._settings = settings
        self._readiness = readiness
        self._producer = producer or BulkProducer(settings)
        self._consumer = AIOKafkaConsumer(
            **aiokafka_config(settings),
            group_id=f"{settings.topic_prefix}timers",
            enable_auto_commit=False,  # how far each timer got is in timers.state; timers is read whole at each start
            auto_offset_reset="earliest",
            group_instance_id=settings.group_instance or None,
            **MEMBERSHIP,
        )
        book = TimerBook()
        self._ownership = Ownership(self._consumer, name_of(settings, TIMERS))
        self._waves = Waves(book, self._producer, self._ownership, settings.tiers, now)
        self._reader = TimerReader(settings, self._consumer, book, self._producer, self._waves.changed)
        self._work: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Join the group, read the timers and begin to fire.

        Raises:
            Exception: what reading or firing can't go on for.
        """
        await self._producer.start()
        self._consumer.subscribe([name_of(self._settings, TIMERS)], listener=_Partitions(self))
        await self._consumer.start()
        running = (self._ownership.pulse(), self._reader.run(), self._waves.run())
        self._work = [asyncio.create_task(work) for work in running]
        ready = asyncio.create_task(self._reader.ready.wait())
        await asyncio.wait({ready, *self._work}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise await self.crashed()
        self._readiness.is_ready()
        _log.info("service.ready")

    async def stop(self) -> None:
        """Finish what is being fired and leave the group; what is due next is another's, or is done at the next start."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._waves.hold()
        await self._consumer.stop()
        await self._producer.stop()

    async def crashed(self) -> BaseException:
        """Wait until reading or firing can't go on, and return why."""
        done, _ = await asyncio.wait(self._work, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().exception() or RuntimeError("the timer service ended by itself")

    def assigned(self, partitions: list[TopicPartition]) -> None:
        """Look after these partitions."""
        self._reader.assigned(partitions)
        _log.info("timers.assigned", partitions=sorted(p.partition for p in partitions))

    async def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Leave these partitions to another service, which begins when this has returned."""
        await self._waves.hold()
        self._ownership.doubt()
        for partition in partitions:
            self._reader.revoked(partition)
        self._waves.go_on()


class _Partitions(ConsumerRebalanceListener):
    def __init__(self, service: TimerService) -> None:
        self._service = service

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._service.assigned(list(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._service.revoked(revoked)
