"""Pure: a message of a task topic to the stamped task that everyone who reads it sees.

The tier is the topic's. What a client left out that produced straight to the topic follows from where the message lies:
its id from topic, partition and offset, its key from the message's, its times from the message's timestamp. So the
service that runs it, a redelivery and the projection all speak of the same task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backbone.ids import derived_id
from backbone.kafka import topic_of
from backbone.outcome import Outgoing
from backbone.stamp import stamp
from schemas import codec, topics
from schemas.records import DeadLetter, Task
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backbone.settings import Settings
    from schemas.errors import BarnabasError

_log = structlog.get_logger()

LARGEST = 900_000
"""Bytes of a task. What follows from it holds the task whole (a retry, a dead letter), and has to fit into the million
that Kafka and its clients take, or it could never be said and its partition would stand still."""

TIER_OF: dict[str, Tier] = {row[tier].name: tier for row in (topics.TASKS, topics.INFERENCE) for tier in Tier}
"""The tier of each task topic, by its name without the prefix."""


def task_or_letter(  # noqa: PLR0917 - the parts of a message, in Kafka's own order
    settings: Settings,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]] | None,
    *,
    now: int,
) -> Task | Outgoing:
    """Return a message's stamped task, or the dead letter that follows from a message that holds none.

    Args:
        settings: see `read_task`, as for all but the last.
        topic: the topic's name as Kafka has it, with the prefix.
        partition: the message's partition.
        offset: the message's offset.
        timestamp: the message's timestamp, in ms since the epoch.
        key: the message's key.
        value: the message's bytes.
        headers: the message's headers.
        now: ms since the epoch.

    Raises:
        schemas.codec.UnknownSchemaError: a newer writer's: it waits for an upgrade of this reader.
    """
    try:
        return read_task(settings, topic, partition, offset, timestamp, key, value, headers)
    except codec.UnknownSchemaError:
        raise
    except codec.CodecError as error:
        _log.warning("record.unreadable", topic=topic, partition=partition, offset=offset, error=str(error))
        return unreadable(topic, partition, offset, value, error, now)


def read_task(  # noqa: PLR0917 - the parts of a message, in Kafka's own order
    settings: Settings,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]] | None,
) -> Task:
    """Read and stamp a task.

    Args:
        settings: the prefix of topics, and the tiers' times.
        topic: the topic's name as Kafka has it, with the prefix.
        partition: the message's partition.
        offset: the message's offset.
        timestamp: the message's timestamp, in ms since the epoch.
        key: the message's key; it becomes the key of a task that names none.
        value: the message's bytes.
        headers: the message's headers; they say whether it is JSON.

    Raises:
        schemas.codec.UnknownSchemaError: a newer writer's; nothing is wrong with it.
        schemas.codec.CodecError: these bytes are no task.
    """
    if value is not None and len(value) > LARGEST:
        raise codec.CodecError(f"has {len(value)} bytes; at most {LARGEST} may be a task", field="value")
    task = codec.decode(value, Task, headers)
    # Read from JSON, 1e15 is 1000000000000000.0.
    if (size := len(task.payload) + sum(len(step.payload) for step in task.then)) > LARGEST:
        raise codec.CodecError(f"its payloads have {size} bytes; at most {LARGEST} may be a task", field="payload")
    tier = TIER_OF[topic_of(settings, topic).name]
    return stamp(
        task,
        task_id=task.id or derived_id(topic, partition, offset),
        tier=tier,
        policy=settings.tiers[tier],
        now=timestamp,
        key=_text(key),
    )


def unreadable(  # noqa: PLR0917 - as above
    topic: str,
    partition: int,
    offset: int,
    value: bytes | None,
    error: BarnabasError,
    now: int,
) -> Outgoing:
    """Return the dead letter of a message that can't be read: its first `LARGEST` bytes, and where all of them lie.

    Args:
        topic: the topic's name as Kafka has it, with the prefix.
        partition: the message's partition.
        offset: the message's offset.
        value: the message's bytes.
        error: why it can't be read.
        now: ms since the epoch.
    """
    raw = value if value is None else value[:LARGEST]
    letter = DeadLetter(at=now, error=error.problem(), raw=raw, topic=topic, partition=partition, offset=offset)
    return Outgoing(topics.DEAD_LETTERS, derived_id(topic, partition, offset), letter)


def _text(key: bytes | None) -> str | None:
    try:
        return key.decode() if key else None
    except UnicodeDecodeError:
        raise codec.CodecError("the message's key is not UTF-8", field="key") from None
