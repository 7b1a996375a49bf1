"""Reads from the log what streams had before they were watched, one partition at a time, for all who wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, TopicPartition

from backbone.kafka import name_of
from connectors.log import BRIEFLY_MS, Logged, consumer, ends_of, read_between
from schemas.records import TaskEvent, TokenDelta
from schemas.topics import TOKENS

if TYPE_CHECKING:
    import msgspec

    from backbone.settings import Settings
    from connectors.sessions import CatchUp

CLOCK_SLACK_MS = 60_000
"""Clocks of edge and workers may differ by this much."""


class CatchUpReader:
    """A consumer beside the live one; one reading at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._lock = asyncio.Lock()

    async def read(self, catch_up: CatchUp, since: int) -> tuple[list[Logged], int]:
        """Return a task's records before the live ones, and where the tokens of its partition ended after that.

        Args:
            catch_up: the task, and where to stop.
            since: when it was made, in ms since the epoch.

        Raises:
            BrokerUnavailableError: the broker did not answer.
        """
        async with self._lock:
            return await asyncio.to_thread(self._read, catch_up, since)

    async def stop(self) -> None:
        """Close the consumer."""
        async with self._lock:
            if self._consumer is not None:
                await asyncio.to_thread(self._consumer.close)
                self._consumer = None

    def _read(self, catch_up: CatchUp, since: int) -> tuple[list[Logged], int]:
        reader = self._consumer = self._consumer or consumer(self._settings, fetch_wait_max_ms=BRIEFLY_MS)

        def of_task(record: msgspec.Struct) -> bool:
            return isinstance(record, TaskEvent | TokenDelta) and record.task_id == catch_up.task

        records = read_between(self._settings, reader, since - CLOCK_SLACK_MS, catch_up.until, of_task)
        tokens = name_of(self._settings, TOKENS)
        return records, ends_of(reader, [TopicPartition(tokens, catch_up.partition)])[tokens, catch_up.partition]
