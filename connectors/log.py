"""Reading the log without a group: messages to records, and pieces of topics from one offset to another.

The edge reads `results`, `inference.tokens` and `kinds` for itself: every instance reads all, nothing is committed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from backbone.errors import BrokerUnavailableError
from backbone.kafka import librdkafka_config, name_of, topic_of
from connectors import showable
from schemas import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import msgspec
    from confluent_kafka import Message

    from backbone.settings import Settings
    from schemas.codec import Headers
    from schemas.topics import Topic

_log = structlog.get_logger()

BATCH = 500
TIMEOUT = 10.0
"""Seconds that the broker may take for a question, and a catch-up without any progress."""

AGAIN_SECONDS = 0.1
"""Pause before a question is asked again."""
_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's own names are so called
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - until it has asked the broker that is back what there is
}

BRIEFLY_MS = 10
"""How long a fetch for a piece of the log may wait at its end: the next piece can't be fetched before that is over."""

Positions = dict[tuple[str, int], int]
"""The next offset to be read, by topic (with the prefix) and partition."""


class Logged(NamedTuple):
    """A record and where it lies; None is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: str
    record: msgspec.Struct | None


def consumer(settings: Settings, **more: Any) -> Consumer:
    """Return a consumer that is assigned by hand; `more` are librdkafka's names with `_` for each dot."""
    return Consumer(
        librdkafka_config(
            settings,
            group_id=f"{settings.topic_prefix}edge-reader",  # librdkafka wants one, though it is never joined
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            queued_max_messages_kbytes=8192,
            fetch_queue_backoff_ms=10,
            fetch_error_backoff_ms=100,
            **more,
        )
    )


def read_message(settings: Settings, message: Message) -> Logged | None:
    """Return a message's record; None for bytes that are none or can't be shown, which are passed over.

    Raises:
        UnknownSchemaError: a newer writer's record.
    """
    topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    value = message.value()
    try:
        key = (message.key() or b"").decode()
        headers = cast("Headers", message.headers() or [])
        record = None if value is None else codec.decode(value, topic_of(settings, topic).record, headers)
        if record is not None:
            showable.check(record)
    except codec.UnknownSchemaError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever strange bytes it stumbles over, the records behind them go on
        _log.warning("log.malformed", topic=topic, partition=partition, offset=offset, error=str(error))
        return None
    return Logged(topic, partition, offset, message.timestamp()[1], key, record)


def ends_of(reader: Consumer, places: Iterable[tuple[str, int]]) -> Positions:
    """Return where partitions end now.

    Raises:
        BrokerUnavailableError: the broker did not answer.
    """
    return _found(reader, dict.fromkeys(places, OFFSET_END))


def begins_of(reader: Consumer, places: Iterable[tuple[str, int]]) -> Positions:
    """Return where partitions begin now: what lay before is deleted.

    Raises:
        BrokerUnavailableError: the broker did not answer.
    """
    return _found(reader, dict.fromkeys(places, OFFSET_BEGINNING))


def starts_of(reader: Consumer, since: Mapping[tuple[str, int], int]) -> Positions:
    """Return the first offsets of partitions from times on, in ms since the epoch; those that have none are left out.

    Raises:
        BrokerUnavailableError: the broker did not answer.
    """
    found = _found(reader, {place: max(time, 0) for place, time in since.items()})
    return {place: offset for place, offset in found.items() if offset >= 0}


def _found(reader: Consumer, asked: Mapping[tuple[str, int], int]) -> Positions:
    # A timestamp of OFFSET_END or OFFSET_BEGINNING asks for these (ListOffsets of the Kafka protocol), all in one request.
    places = [TopicPartition(topic, number, what) for (topic, number), what in asked.items()]
    return {(found.topic, found.partition): found.offset for found in _offsets(reader, places)} if places else {}


def read_whole(settings: Settings, topic: Topic) -> tuple[list[Logged], Positions]:
    """Return all records of a topic, and where it ended.

    Raises:
        BrokerUnavailableError: the broker did not answer.
    """
    reader = consumer(settings, enable_partition_eof=True, fetch_wait_max_ms=BRIEFLY_MS)
    try:
        name = name_of(settings, topic)
        parts = [TopicPartition(name, number, OFFSET_BEGINNING) for number in range(settings.partitions)]
        reader.assign(parts)
        open_partitions = set(range(settings.partitions))
        positions: Positions = {}
        records: list[Logged] = []
        for message in _until(reader, lambda: not open_partitions):
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name for it
                    open_partitions.discard(message.partition() or 0)
                    positions[name, message.partition() or 0] = message.offset() or 0
            elif (logged := read_message(settings, message)) is not None:
                records.append(logged)
        return records, positions
    finally:
        reader.close()


def read_ranges(settings: Settings, reader: Consumer, starts: Positions, until: Positions) -> Iterable[Logged]:
    """Yield the records of some partitions from one offset to another, in log order within each.

    Args:
        settings: how topics are called.
        reader: a consumer that nobody else uses meanwhile.
        starts: the first offsets; of partitions that have none nothing is read.
        until: the offsets before which to stop.

    Raises:
        BrokerUnavailableError: the broker did not answer.
        UnknownSchemaError: a newer writer's record lies there.
    """
    left = {place: offset for place, offset in starts.items() if offset < until[place]}
    if not left:
        return
    reader.assign([TopicPartition(topic, number, offset) for (topic, number), offset in left.items()])
    try:
        for message in _until(reader, lambda: not left):
            place = message.topic() or "", message.partition() or 0
            if message.error() is not None or place not in left:
                continue
            offset = message.offset() or 0
            if offset < until[place] and (logged := read_message(settings, message)) is not None:
                yield logged
            if offset + 1 >= until[place]:
                del left[place]
    finally:
        reader.unassign()


def _until(reader: Consumer, done: Callable[[], bool]) -> Iterable[Message]:
    last = time.monotonic()
    while not done():
        first = reader.poll(0.5)
        if first is None:
            if time.monotonic() - last > TIMEOUT:
                raise BrokerUnavailableError("the log could not be read in time")
            continue
        last = time.monotonic()
        yield first
        yield from reader.consume(BATCH, 0)


def _offsets(reader: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    """Return the offsets of some times; ask again where the broker is just finding its place.

    A reader that was idle while a broker came back asks by what it knew before, is refused (KIP-320), and learns by it.
    """
    until = time.monotonic() + TIMEOUT
    while True:
        found, error = _asked_once(reader, asked)
        if error is None:
            return found
        if error.code() not in _PASSING or time.monotonic() > until:
            raise BrokerUnavailableError(f"the log's offsets could not be read: {error.str()}")
        time.sleep(AGAIN_SECONDS)


def _asked_once(reader: Consumer, asked: list[TopicPartition]) -> tuple[list[TopicPartition], KafkaError | None]:
    try:
        # It writes into what it is given.
        given = [TopicPartition(place.topic, place.partition, place.offset) for place in asked]
        found = reader.offsets_for_times(given, timeout=TIMEOUT)
    except KafkaException as error:
        return [], error.args[0]
    return found, next((place.error for place in found if place.error is not None), None)
