"""Kafka: topics, client configurations and the partition of a key, the same for every process.

Two clients are used, each where it is best: aiokafka where the process is asyncio through and through (Faust is built
on it), confluent-kafka (librdkafka) where KIP-848 groups or many partitions matter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from backbone import kafka_connection
from backbone.errors import BrokerUnavailableError
from schemas import codec, topics

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from backbone.outcome import Outgoing
    from backbone.settings import Settings
    from schemas.topics import Topic

QUIET_SECONDS = 60.0
"""Both clients say many times a second that a broker is away; they are heard once in so many seconds."""

SESSION_MS = 6000
"""How long Kafka waits for a member of a group that died, from its last heartbeat. Brokers permit no less by default."""
HEARTBEAT_MS = 500
"""How often a member of a group hears what happens to it: that another died or joined, up to so long after Kafka knows."""
MEMBERSHIP = {"session_timeout_ms": SESSION_MS, "heartbeat_interval_ms": HEARTBEAT_MS}
"""Of a consumer of the classic protocol, by the names that both clients give them."""

HEADERS: list[tuple[str, bytes]] = [(codec.CONTENT_TYPE, codec.AVRO)]

kafka_connection.install()


def name_of(settings: Settings, topic: Topic) -> str:
    """Return a topic's name with the prefix."""
    return settings.topic_prefix + topic.name


def topic_of(settings: Settings, name: str) -> Topic:
    """Return the topic of a name with the prefix."""
    return topics.BY_NAME[name.removeprefix(settings.topic_prefix)]


def partition_of(key: str, partitions: int) -> int:
    """Return the partition in which a key lies: murmur2 as Java's default partitioner has it."""
    return (int(murmur2(key.encode())) & 0x7FFFFFFF) % partitions


class Seldom(logging.Filter):
    """Lets each kind of line through once in `QUIET_SECONDS`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, told_by: int = 0) -> None:
        """Make a filter that has let nothing through yet.

        Args:
            clock: seconds, never going back.
            told_by: how many of a line's first arguments tell its kind, beside its logger and its wording.
        """
        super().__init__()
        self._clock = clock
        self._told_by = told_by
        self._heard: dict[tuple[object, ...], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is let through."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        kind = (record.name, record.msg, *arguments[: self._told_by])
        now = self._clock()
        if now - self._heard.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._heard[kind] = now
        return True


_librdkafka_log = logging.getLogger("librdkafka")
# Its lines have one wording: what they are about and the client's name come as arguments.
_librdkafka_log.addFilter(Seldom(told_by=2))
# Where nobody configured logging, as in a command, the error that is raised says it all.
_librdkafka_log.addHandler(logging.NullHandler())

_aiokafka_seldom = Seldom()
# Each of its modules has a logger, and a filter does not hold for the loggers below its own.
for _name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "aiokafka"]:
    logging.getLogger(_name).addFilter(_aiokafka_seldom)


def librdkafka_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """Return a configuration for confluent-kafka; `more` are librdkafka's names with `_` for each dot."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        # Reconnect fast: a broker that restarts on a laptop is back in seconds.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,
        "log.connection.close": False,
        "logger": _librdkafka_log,
    }
    config.update({name.replace("_", "."): value for name, value in more.items()})
    return config


def producer_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """Return a configuration for a confluent-kafka producer: durable, in order, partitioned like every other client."""
    return librdkafka_config(
        settings, acks="all", enable_idempotence=True, linger_ms=0, partitioner="murmur2_random", **more
    )


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """Return the arguments that every aiokafka client shares."""
    return {"bootstrap_servers": settings.kafka_bootstrap.split(",")}


class Producer:
    """A durable producer for asyncio processes: what `send` returned for is on all in-sync replicas."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = AIOKafkaProducer(**aiokafka_config(settings), acks="all", enable_idempotence=True, linger_ms=0)

    async def start(self) -> None:
        """Connect.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        try:
            await self._client.start()
        except Exception as error:
            await self._client.stop()
            raise BrokerUnavailableError(f"no broker answers at {self._settings.kafka_bootstrap}") from error

    async def stop(self) -> None:
        """Flush and close."""
        await self._client.stop()

    async def send(self, topic: Topic, key: str, record: msgspec.Struct | None) -> tuple[int, int]:
        """Produce a record (None: a tombstone) and wait until it is durable.

        Returns:
            Its partition and offset.

        Raises:
            BrokerUnavailableError: it was not acknowledged in time.
        """
        value = None if record is None else codec.encode(record)
        try:
            async with asyncio.timeout(self._settings.produce_timeout.total_seconds()):
                meta = await self._client.send_and_wait(
                    name_of(self._settings, topic), value, key=key.encode(), headers=HEADERS
                )
        except Exception as error:
            raise BrokerUnavailableError from error
        return meta.partition, meta.offset

    async def send_all(self, records: tuple[Outgoing, ...]) -> None:
        """Produce records, each durable before the next: what follows from an event may not be seen before it.

        Raises:
            BrokerUnavailableError: one was not acknowledged in time.
        """
        for out in records:
            await self.send(out.topic, out.key, out.record)


async def create_topics(settings: Settings) -> list[str]:
    """Make the topics that are missing, and return their names.

    Raises:
        BrokerUnavailableError: no broker answers, or it refuses.
    """
    return await asyncio.to_thread(_create_topics, settings)


def _create_topics(settings: Settings) -> list[str]:
    admin = AdminClient(librdkafka_config(settings))
    try:
        existing = admin.list_topics(timeout=5).topics
        missing = [
            NewTopic(
                name_of(settings, topic),
                num_partitions=settings.partitions,
                replication_factor=settings.replication_factor,
                config=topic.config(),
            )
            for topic in topics.ALL
            if name_of(settings, topic) not in existing
        ]
        if not missing:
            return []
        for future in admin.create_topics(missing, operation_timeout=30).values():
            try:
                future.result()
            except KafkaException as error:
                # Another process that starts at the same time made it first.
                if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                    raise
    except KafkaException as error:
        raise BrokerUnavailableError(
            f"the topics could not be made at {settings.kafka_bootstrap}: {error.args[0].str()}"
        ) from error
    return [topic.topic for topic in missing]
