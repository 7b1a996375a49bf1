"""Topics to Redis, for reads by id: one consumer group folds them, and they can always be folded anew.

What was folded is committed only afterwards; after a crash it is folded again, which changes nothing. Redis away means
that the projection waits. A record of a newer writer stops its partition, not the others.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from backbone.errors import BrokerUnavailableError, StoreUnavailableError
from backbone.intake import read_task
from backbone.kafka import MEMBERSHIP, aiokafka_config, name_of, topic_of
from connectors import metrics, showable
from connectors.letter_state import letter_id
from connectors.state import Place
from connectors.states import Change, States
from schemas import codec
from schemas.records import DeadLetter, Fire, Task, TaskEvent, Timer
from schemas.topics import DEAD_LETTERS, INFERENCE, RESULTS, TASKS, TIMERS, TIMERS_FIRED

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from backbone.settings import Settings

_log = structlog.get_logger()

TOPICS = (*TASKS.values(), *INFERENCE.values(), RESULTS, DEAD_LETTERS, TIMERS, TIMERS_FIRED)
BATCH = 500
COMMIT_SECONDS = 1.0
COMMIT_TIMEOUT = 5.0
STORE_AWAY_SECONDS = 0.5


class Projection:
    """Folds what happens into the states."""

    def __init__(self, settings: Settings, states: States, group: str = "projector") -> None:
        """Make a member of a group; a group of a new name folds all anew."""
        self._settings = settings
        self._states = states
        self._consumer = AIOKafkaConsumer(
            *(name_of(settings, topic) for topic in TOPICS),
            **aiokafka_config(settings),
            group_id=settings.topic_prefix + group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **MEMBERSHIP,
            max_poll_records=BATCH,
        )
        self._positions: dict[TopicPartition, int] = {}
        self._uncommitted: dict[TopicPartition, int] = {}
        self.folding = False
        """Whether it folds; not while Redis is away."""
        self.blocked: str | None = None
        """Why some partition is not folded any further, if one is not."""

    async def start(self) -> None:
        """Join the group.

        Raises:
            BrokerUnavailableError: no broker answers.
        """
        try:
            await self._consumer.start()
        except Exception as error:
            await self._consumer.stop()
            raise BrokerUnavailableError(f"no broker answers at {self._settings.kafka_bootstrap}") from error

    async def run(self) -> None:
        """Fold until cancelled; then commit and leave the group."""
        committed = time.monotonic()
        self.folding = True
        try:
            while True:
                batches = await self._consumer.getmany(timeout_ms=int(COMMIT_SECONDS * 1000), max_records=BATCH)
                changes: list[Change] = []
                positions: dict[TopicPartition, int] = {}
                for partition, messages in batches.items():
                    some, positions[partition] = self._changes(partition, messages)
                    changes += some
                    metrics.PROJECTED.labels(topic=partition.topic).inc(len(messages))
                await self._fold(changes)
                self._positions |= positions
                self._uncommitted |= positions
                if self._uncommitted and time.monotonic() - committed >= COMMIT_SECONDS:
                    await self._commit()
                    committed = time.monotonic()
                metrics.LAG.set(self.lag())
        finally:
            self.folding = False
            await self._commit()
            await self._consumer.stop()

    def lag(self) -> int:
        """Return how many records are yet to be folded, as far as the broker has told."""
        assigned = self._consumer.assignment()
        return sum(
            max(0, (self._consumer.highwater(partition) or 0) - position)
            for partition, position in self._positions.items()
            if partition in assigned
        )

    def _changes(self, partition: TopicPartition, messages: list[Any]) -> tuple[list[Change], int]:
        """Return what messages of a partition change, and the offset to go on from."""
        changes: list[Change] = []
        for message in messages:
            try:
                changes.append(_change(self._settings, message))
            except codec.UnknownSchemaError as error:
                self.blocked = f"{message.topic}-{message.partition} at {message.offset}: {error.message}"
                _log.error("projection.blocked", topic=message.topic, partition=message.partition, error=error.message)
                self._consumer.seek(partition, message.offset)
                self._consumer.pause(partition)
                return changes, message.offset
            except Exception as error:  # noqa: BLE001 - whatever it stumbles over, the records behind it go on
                # Whoever serves the topic puts it among the dead letters; here there is nothing to be known of it.
                _log.warning(
                    "projection.malformed",
                    topic=message.topic,
                    partition=message.partition,
                    offset=message.offset,
                    error=str(error),
                )
        return changes, messages[-1].offset + 1

    async def _fold(self, changes: list[Change]) -> None:
        try:
            await self._store(changes)
        except Exception:  # noqa: BLE001 - whatever is wrong with one record, the others are folded
            if len(changes) > 1:  # halve them, until the one is alone that it stumbles over
                half = len(changes) // 2
                await self._fold(changes[:half])
                await self._fold(changes[half:])
                return
            place = changes[0].place
            _log.exception("projection.unfoldable", topic=place.topic, partition=place.partition, offset=place.offset)

    async def _store(self, changes: list[Change]) -> None:
        while changes:
            try:
                await self._states.apply(changes)
            except StoreUnavailableError:
                if self.folding:
                    _log.warning("projection.store_away")
                self.folding = False
                await asyncio.sleep(STORE_AWAY_SECONDS)
            else:
                break
        self.folding = True

    async def _commit(self) -> None:
        """Commit how far was folded; what was read beyond that is read again."""
        assigned = self._consumer.assignment()
        folded = {partition: offset for partition, offset in self._uncommitted.items() if partition in assigned}
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT):
                if folded:
                    await self._consumer.commit(folded)
            self._uncommitted.clear()
        except (KafkaError, TimeoutError) as error:
            # Of a rebalance, or of a broker that is away: what was folded is folded again, which changes nothing.
            _log.info("projection.uncommitted", error=type(error).__name__)


def _change(settings: Settings, message: Any) -> Change:
    """Return what a message of one of `TOPICS` changes.

    Raises:
        CodecError: it is no such record, or one that can't be shown.
    """
    change = _read(settings, message)
    if change.record is not None:
        showable.check(change.record)
    return change


def _read(settings: Settings, message: Any) -> Change:
    place = Place(message.topic, message.partition, message.offset)
    topic = topic_of(settings, message.topic)
    if topic.record is Task:
        task = read_task(
            settings,
            message.topic,
            message.partition,
            message.offset,
            message.timestamp,
            message.key,
            message.value,
            message.headers,
        )
        return Change(task.id, task, place)
    if topic is RESULTS:
        event = codec.decode(message.value, TaskEvent, message.headers)
        return Change(event.task_id, event, place)
    if topic is DEAD_LETTERS:
        letter = codec.decode(message.value, DeadLetter, message.headers)
        return Change(letter_id(letter, message.key, place), letter, place)
    if topic is TIMERS_FIRED:
        fire = codec.decode(message.value, Fire, message.headers)
        return Change(fire.timer_id, fire, place)
    if message.value is None:
        return Change((message.key or b"").decode(errors="replace"), None, place)
    timer = codec.decode(message.value, Timer, message.headers)
    return Change(timer.id, timer, place)
