"""What a timer service may believe of its partitions: one that stood still may have been succeeded without knowing.

A partition is sure once the group's broker accepted a commit of this member's generation, and as long as the process
went on since: a process that was stopped (SIGSTOP, a suspended machine) is sure of nothing until it has asked again.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import AIOKafkaConsumer

_log = structlog.get_logger()

STILL_SECONDS = 2.0
"""A process that did nothing for so long may have been stopped; it is well under the session's time."""


class Ownership:
    """Which partitions are ours beyond doubt."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._topic = topic
        self._clock = clock
        self._sure: set[int] = set()
        self._doubts = 0
        self._beat = clock()

    async def pulse(self) -> None:
        """Notice when the process stood still; runs for ever."""
        while True:
            self._look()
            self._beat = self._clock()
            await asyncio.sleep(STILL_SECONDS / 4)

    def is_sure(self, partition: int) -> bool:
        """Whether a partition is ours beyond doubt at this moment."""
        self._look()
        return partition in self._sure

    def doubt(self) -> None:
        """Be sure of nothing until asked again, as when the group changes."""
        self._sure.clear()
        self._doubts += 1

    async def ask(self, partitions: Iterable[int]) -> bool:
        """Ask the group whether these partitions are ours; they are sure then."""
        asked = set(partitions)
        # The broker refuses a commit of an older generation. All of `timers` is read at each start, so 0 says nothing.
        offsets = {TopicPartition(self._topic, partition): 0 for partition in asked}
        doubts = self._doubts
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            _log.warning("timers.not_ours", partitions=sorted(asked), reason=type(error).__name__)
            return False
        self._look()
        if self._doubts != doubts:
            return False  # what was answered may not be so any more
        self._sure |= asked
        return True

    def _look(self) -> None:
        if self._clock() - self._beat > STILL_SECONDS:
            self.doubt()
