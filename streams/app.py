"""A tier's Faust app: events in, `dispatch` in the middle, records out. The only file that knows Faust.

Partitions are the concurrency: one agent, isolated per partition, takes one event at a time from each. (Faust's
`concurrency` above 1 commits past events in flight and loses them.) An event is acknowledged when `handle` returns, so
`handle` returns only when all that follows from the task is durable, and raises nothing: Faust acknowledges what
raised.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import structlog

from backbone import cancellations
from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, StoreUnavailableError
from backbone.intake import task_or_letter
from backbone.kafka import HEADERS, HEARTBEAT_MS, SESSION_MS, name_of
from backbone.outcome import Outgoing
from backbone.outcomes import OutcomeStore
from backbone.presence import instance_name
from backbone.rate import RateLimiter
from backbone.redis import connect
from schemas import codec
from schemas.topics import KINDS, TASKS
from streams import registry
from streams.compute import ComputePool
from streams.dispatch import RETRY_SECONDS, Dispatcher
from streams.faust_consumer import App

if TYPE_CHECKING:
    from collections.abc import Iterable

    import faust
    from faust.types import EventT, Message

    from backbone.settings import Settings
    from backbone.telemetry import Readiness
    from schemas.tiers import Tier

_log = structlog.get_logger()

SAY_SECONDS = 2.0
"""How long a task is held up to tell how it does: aiokafka waits up to 40 s for room where Kafka is away."""


class TierApp:
    """One tier's consumer: start it, wait, stop it."""

    def __init__(self, settings: Settings, tier: Tier, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness
        self._redis = connect(settings)
        self._handlers = registry.load(settings)
        policy = settings.tiers[tier]
        self._compute = ComputePool(policy.cpu_workers, policy.memory_mb)
        self._dispatcher = Dispatcher(
            settings=settings,
            policy=policy,
            handlers=self._handlers,
            store=OutcomeStore(self._redis, settings),
            limiter=RateLimiter(self._redis, settings),
            compute=self._compute,
            blobs=Blobs.of(settings),
            say=self._say,
            worker=instance_name(),
            now=now_ms,
            jitter=random.random,
        )
        folder = settings.home / "faust"
        folder.mkdir(parents=True, exist_ok=True)
        self.faust = App(
            f"{settings.topic_prefix}streams.{tier}",
            broker=[f"kafka://{address}" for address in settings.kafka_bootstrap.split(",")],
            key_serializer="raw",
            value_serializer="raw",
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=settings.group_instance or None,
            broker_session_timeout=SESSION_MS / 1000,
            broker_heartbeat_interval=HEARTBEAT_MS / 1000,
            broker_commit_interval=0.3,
            producer_acks=-1,
            producer_linger=0.0,
            topic_allow_declare=False,  # backbone.kafka makes the topics
            topic_disable_leader=True,
            datadir=folder / tier,  # it makes one wherever it runs, though no table is kept there
            web_enabled=False,  # it would listen on every address
            worker_redirect_stdouts=False,
        )
        topic = self.faust.topic(name_of(settings, TASKS[tier]), key_type=bytes, value_type=bytes)
        self.faust.agent(topic, concurrency=1, isolated_partitions=True, name=f"tasks.{tier}")(self._consume)
        self.faust.on_partitions_assigned.connect(self._on_assigned)
        self._assigned = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Announce the kinds and take part in the tier's group; returns once the group has given out its partitions."""
        await self.faust.start()
        for handler in self._handlers.values():
            kind = registry.announcement(handler)
            await self._produce(KINDS.name, kind.kind, codec.encode(kind))
        await self._assigned.wait()
        self._readiness.is_ready()
        _log.info("service.ready")
        self._listening = asyncio.create_task(cancellations.listen(self._settings, self._dispatcher.cancel))

    async def stop(self) -> None:
        """Finish what runs, commit, and leave the group."""
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.faust.stop()
        for handler in self._handlers.values():
            await handler.close()
        await self._compute.close()
        await self._redis.aclose()

    async def crashed(self) -> BaseException:
        """Wait until the app can't go on, or hears of cancellations no more, and return why."""
        # Faust tells of a crash only to its own worker program.
        crash = asyncio.ensure_future(self.faust._crashed.wait())  # noqa: SLF001
        watched = {crash, self._listening} if self._listening else {crash}
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        crash.cancel()
        if crash in done:
            return self.faust._crash_reason or RuntimeError("the Faust app crashed")  # noqa: SLF001
        ended = done.pop()
        return ended.exception() or RuntimeError("nothing listens for cancellations any more")

    async def _on_assigned(self, *_args: object, **_kwargs: object) -> None:
        self._assigned.set()

    async def _consume(self, stream: faust.StreamT[bytes]) -> None:
        async for event in stream.events():
            await self._handle(event)

    async def _handle(self, event: EventT[bytes]) -> None:
        message = event.message
        while True:
            try:
                return await self._produce_all(await self._follow(message))
            except codec.UnknownSchemaError as error:
                # A newer writer, not bad data: the partition waits for an upgrade of this reader.
                _log.error("tier.unknown_schema", partition=message.partition, offset=message.offset, error=str(error))
            except (StoreUnavailableError, BrokerUnavailableError) as error:
                _log.warning("tier.waits", partition=message.partition, offset=message.offset, reason=error.code)
            except Exception:  # noqa: BLE001 - a fault of ours: better the same task again than a task lost
                _log.exception("tier.fault", partition=message.partition, offset=message.offset)
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, message: Message) -> tuple[Outgoing, ...]:
        """Return what follows from a message: from its task, or a dead letter if it holds none.

        Raises:
            UnknownSchemaError: the message is a newer writer's.
            StoreUnavailableError: Redis is away.
        """
        headers: Any = message.headers or ()
        held = task_or_letter(
            self._settings,
            message.topic,
            message.partition,
            message.offset,
            int(message.timestamp * 1000),
            message.key,
            message.value,
            headers.items() if isinstance(headers, dict) else headers,
            now=now_ms(),
        )
        return (held,) if isinstance(held, Outgoing) else await self._dispatcher.run(held)

    async def _say(self, record: Outgoing) -> None:
        try:
            async with asyncio.timeout(SAY_SECONDS):
                await self._begin(record.topic.name, record.key, codec.encode(record.record))
        except Exception as error:  # noqa: BLE001 - nothing rests on it; what follows from the task is produced apart
            _log.warning("tier.unsaid", topic=record.topic.name, error=str(error))

    async def _produce_all(self, records: Iterable[Outgoing]) -> None:
        """Produce records, each durable before the next: what follows from an event may not be seen before it."""
        for out in records:
            try:
                async with asyncio.timeout(self._settings.produce_timeout.total_seconds()):
                    await self._produce(out.topic.name, out.key, codec.encode(out.record))
            except Exception as error:
                raise BrokerUnavailableError from error

    async def _produce(self, topic: str, key: str, value: bytes) -> None:
        await (await self._begin(topic, key, value))

    async def _begin(self, topic: str, key: str, value: bytes) -> Any:
        # The app's own producer: Faust flushes it before a commit.
        return await self.faust.producer.send(
            self._settings.topic_prefix + topic, key.encode(), value, None, None, HEADERS
        )
