"""Reads from the log what was there before: all who wait are served by one pass over the partitions that they ask for."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from connectors.log import BRIEFLY_MS, Logged, begins_of, consumer, ends_of, read_ranges, starts_of
from schemas.records import TaskEvent, TokenDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from confluent_kafka import Consumer

    from backbone.settings import Settings
    from connectors.log import Positions

CLOCK_SLACK_MS = 60_000
"""Clocks of edge and workers may differ by this much."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reading:
    """What is to be read, before these offsets.

    Attributes:
        until: the partitions, and where to stop in each.
        since: from when on, in ms since the epoch; None: from the offsets of `start` on.
        start: the first offsets.
        task: whose records; None: all events that are `wanted`.
        wanted: which events.
    """

    until: Positions
    since: int | None = None
    start: Positions = field(default_factory=dict)
    task: str | None = None
    wanted: Callable[[TaskEvent], bool] = lambda _: False


class Found(NamedTuple):
    """What was read.

    Attributes:
        records: in log order within each partition, by time between them.
        begins: where the partitions begin.
        ends: where they ended after that.
        first: when the first record of each partition was written that was looked at, in ms since the epoch.
    """

    records: list[Logged]
    begins: Positions
    ends: Positions
    first: dict[tuple[str, int], int]


class CatchUpReader:
    """A consumer beside the live one. What is asked for while it reads is read in the next pass, together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None
        self._asked: list[tuple[Reading, asyncio.Future[Found]]] = []
        self._passing: asyncio.Task[None] | None = None

    async def read(self, reading: Reading) -> Found:
        """Return what a reading asks for.

        Raises:
            BrokerUnavailableError: the broker did not answer.
            UnknownSchemaError: a newer writer's record lies there.
        """
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._asked.append((reading, future))
        if self._passing is None or self._passing.done():
            self._passing = asyncio.create_task(self._pass(), name="catch-up")
        return await future

    async def stop(self) -> None:
        """Close the consumer."""
        if self._passing is not None:
            self._passing.cancel()
            await asyncio.gather(self._passing, return_exceptions=True)
        for _, future in self._asked:
            future.cancel()
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)
            self._consumer = None

    async def _pass(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(None, self._read, [one for one, _ in asked])
            try:
                # A thread can't be interrupted: the consumer is closed only when it is done.
                found = await asyncio.shield(reading)
            except asyncio.CancelledError:
                await asyncio.gather(reading, return_exceptions=True)
                for _, future in asked:
                    future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - those who wait hear of it, whatever it is
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), one in zip(asked, found, strict=True):
                    if not future.done():
                        future.set_result(one)

    def _read(self, asked: list[Reading]) -> list[Found]:
        reader = self._consumer = self._consumer or consumer(self._settings, fetch_wait_max_ms=BRIEFLY_MS)
        places = {place for one in asked for place in one.until}
        begins = begins_of(reader, places)
        starts = _starts(reader, asked, begins)
        until = {place: max(one.until.get(place, 0) for one in asked) for place in places}
        kept: list[dict[tuple[str, int], list[Logged]]] = [{} for _ in asked]
        first: dict[tuple[str, int], int] = {}
        wanted = _Index(asked)
        for logged in read_ranges(self._settings, reader, starts, until):
            place = logged.topic, logged.partition
            first.setdefault(place, logged.timestamp)
            for number in wanted.of(logged):
                if logged.offset < asked[number].until.get(place, 0) and logged.offset >= asked[number].start.get(
                    place, 0
                ):
                    kept[number].setdefault(place, []).append(logged)
        ends = ends_of(reader, places)
        return [
            Found(list(heapq.merge(*rows.values(), key=lambda logged: logged.timestamp)), begins, ends, first)
            for rows in kept
        ]


def _starts(reader: Consumer, asked: Iterable[Reading], begins: Positions) -> Positions:
    """Return the first offset of each partition that anyone asks for."""
    since: dict[tuple[str, int], int] = {}
    starts: Positions = {}
    for one in asked:
        for place in one.until:
            if one.since is not None:
                since[place] = min(since.get(place, one.since), one.since - CLOCK_SLACK_MS)
            elif place in one.start:
                starts[place] = min(starts.get(place, one.start[place]), one.start[place])
    for place, offset in starts_of(reader, since).items():
        starts[place] = min(starts.get(place, offset), offset)
    return {place: max(offset, begins[place]) for place, offset in starts.items()}


class _Index:
    """Which of the readings want a record."""

    def __init__(self, asked: list[Reading]) -> None:
        self._of_task: dict[str, list[int]] = {}
        self._others: list[tuple[int, Callable[[TaskEvent], bool]]] = []
        for number, one in enumerate(asked):
            if one.task is not None:
                self._of_task.setdefault(one.task, []).append(number)
            else:
                self._others.append((number, one.wanted))

    def of(self, logged: Logged) -> list[int]:
        record = logged.record
        if not isinstance(record, TaskEvent | TokenDelta):
            return []
        numbers = self._of_task.get(record.task_id, [])
        if isinstance(record, TaskEvent):
            return numbers + [number for number, wanted in self._others if wanted(record)]
        return numbers
