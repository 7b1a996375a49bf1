"""Reads the token log of the partitions whose requests this worker has: what was accepted before a claim, and later claims.

A claim is waited for until it comes back through the log: all that was accepted before it has come by then, whoever
wrote it. A partition is read from where the last owner's commit says that the unfinished begins, so taking over reads
seconds and not the day, and a fresh request reads nothing but its own claim.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from backbone.kafka import aiokafka_config, name_of
from inference_worker.token_log import TokenLog
from schemas import codec
from schemas.records import TokenDelta
from schemas.topics import TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiokafka import ConsumerRecord

    from backbone.settings import Settings
    from inference_worker.token_log import Accepted

_log = structlog.get_logger()
_POLL_MS = 500


class Tail:
    """A view of the token log, up to the record that was read last."""

    def __init__(self, settings: Settings) -> None:
        self._topic = name_of(settings, TOKENS)
        self._all = [TopicPartition(self._topic, number) for number in range(settings.partitions)]
        self._consumer = AIOKafkaConsumer(
            **aiokafka_config(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self._logs: dict[int, TokenLog] = {}
        self._position: dict[int, int] = {}
        self._waiting: defaultdict[int, list[tuple[int, asyncio.Future[None]]]] = defaultdict(list)

    async def start(self) -> None:
        """Connect; nothing is followed yet."""
        await self._consumer.start()
        self._consumer.assign(self._all)
        self._consumer.pause(*self._all)

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def follow(self, floors: Mapping[int, int | None]) -> None:
        """Read partitions from these offsets on, None: from the first that is kept. What was known of them is read anew."""
        tps = {number: TopicPartition(self._topic, number) for number in floors}
        first = await self._consumer.beginning_offsets(list(tps.values()))
        for number, floor in floors.items():
            begin = max(first[tps[number]], floor or 0)
            self._logs[number] = TokenLog()
            self._position[number] = begin
            self._consumer.seek(tps[number], begin)
            self._consumer.resume(tps[number])

    def unfollow(self, numbers: Iterable[int]) -> None:
        """Read these partitions no longer."""
        for number in numbers:
            self._consumer.pause(TopicPartition(self._topic, number))
            self._logs.pop(number, None)
            self._position.pop(number, None)
            for _, reached in self._waiting.pop(number, ()):
                reached.cancel()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            for tp, messages in (await self._consumer.getmany(timeout_ms=_POLL_MS)).items():
                if tp.partition in self._logs:
                    self._read(tp.partition, messages)

    def _read(self, number: int, messages: list[ConsumerRecord[bytes, bytes]]) -> None:
        for message in messages:
            try:
                delta = codec.decode(message.value, TokenDelta, message.headers)
            except codec.CodecError as error:
                _log.warning("tokens.unreadable", partition=number, offset=message.offset, error=str(error))
            else:
                self._logs[number].fold(message.offset, delta)
        self._position[number] = messages[-1].offset + 1
        still = []
        for offset, reached in self._waiting.pop(number, ()):
            if offset >= self._position[number]:
                still.append((offset, reached))
            elif not reached.done():
                reached.set_result(None)
        if still:
            self._waiting[number] = still

    async def reach(self, number: int, offset: int) -> None:
        """Wait until the record at `offset` of a partition has been read."""
        if self._position[number] <= offset:
            reached = asyncio.get_running_loop().create_future()
            self._waiting[number].append((offset, reached))
            await reached

    async def catch_up(self, number: int) -> None:
        """Wait until what a partition holds now has been read."""
        tp = TopicPartition(self._topic, number)
        await self.reach(number, (await self._consumer.end_offsets([tp]))[tp] - 1)

    def accepted(self, number: int, task_id: str) -> Accepted | None:
        """Return what was accepted for a request, as far as the log was read; None if nobody claimed it."""
        log = self._logs.get(number)
        return log[task_id] if log else None

    def forget(self, number: int, task_id: str) -> None:
        """Drop a request that is over for good."""
        if log := self._logs.get(number):
            log.forget(task_id)

    def floor(self, number: int, in_hand: Iterable[str]) -> int:
        """Return the offset from which a successor must read: the first claim of what has not ended or is in hand."""
        log = self._logs[number]
        firsts = [known.first for task_id in in_hand if (known := log[task_id])]
        lowest = log.floor()
        return min([*firsts, self._position[number], *([] if lowest is None else [lowest])])
