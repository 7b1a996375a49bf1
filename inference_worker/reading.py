"""A request to which nothing is said: its texts go through the engine side by side, and make one result.

Nothing of it stands in the log of tokens. A worker that takes it over reads it anew; whose result is first is the one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, Final, Generic, TypedDict, TypeVar

from inference_worker.scheduled import Scheduled
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel

    from inference_worker.live_engine import LiveEngine
    from schemas.records import Task

TRIALS: Final = 3
"""How often a text is read whose step fails."""

P = TypeVar("P", bound=Scheduled)
_runs = count()


class Common(TypedDict):
    """What all that is scheduled for a request has in common, and its id."""

    id: str
    rank: int
    deadline: int
    start_by: int | None
    owner: str


class Texts(ABC, Generic[P]):
    """What a request gives to read, prepared: its texts as the engine reads them, and the result that they make."""

    count: int

    @abstractmethod
    def part(self, place: int, common: Common) -> P:
        """Return the text of a place, 0 to `count` - 1, as the engine reads it."""

    @abstractmethod
    def result(self, parts: list[P]) -> BaseModel:
        """Return what the texts make once all are read; they are in order."""


class Reading(Generic[P]):
    """One request as it is read."""

    def __init__(self, engine: LiveEngine, task: Task, texts: Texts[P]) -> None:
        """Begin; nothing is read yet."""
        self.finish = FinishReason.STOP
        """How it ends: whole, as long as nothing else happened."""
        self.begun = False
        """Whether one of the texts has had a place."""
        self._engine = engine
        self._task = task
        self._texts = texts
        self._id = f"{task.id}#{next(_runs)}"
        self._parts: dict[int, P] = {}
        self._may_follow = asyncio.Event()

    async def run(self, tell: Callable[[], Awaitable[None]]) -> FinishReason:
        """Read all texts, and return how it ended.

        Args:
            tell: called once, as the first of them begins.
        """
        texts = [asyncio.create_task(self._read(place, tell)) for place in range(self._texts.count)]
        try:
            await asyncio.gather(*texts)
        finally:
            for text in texts:
                text.cancel()
        return self.finish

    def cancel(self) -> None:
        """End it where it stands."""
        self._end(FinishReason.CANCELLED)

    def result(self) -> bytes:
        """Return the result of what ended whole, as JSON."""
        parts = [self._parts[place] for place in range(self._texts.count)]
        return self._texts.result(parts).model_dump_json(exclude_none=True).encode()

    async def _read(self, place: int, tell: Callable[[], Awaitable[None]]) -> None:
        """Read a text. The first tells whether the request begins in time; the others follow it."""
        if place:
            await self._may_follow.wait()
        for trial in range(TRIALS):
            if self.finish is not FinishReason.STOP:
                break
            part = self._parts[place] = self._texts.part(place, self._common(f"{place}.{trial}"))
            await self._hear(part, tell)
            if part.ended is FinishReason.STOP:
                return
            if part.ended and part.ended is not FinishReason.ERROR:
                self._end(part.ended)
        self._end(FinishReason.ERROR)

    async def _hear(self, part: P, tell: Callable[[], Awaitable[None]]) -> None:
        async with aclosing(self._engine.run(part)) as steps:
            async for outputs in steps:
                if not self.begun and any(output.started for output in outputs):
                    self.begun = True
                    self._may_follow.set()
                    await tell()

    def _end(self, reason: FinishReason) -> None:
        if self.finish is FinishReason.STOP:
            self.finish = reason
            for part in self._parts.values():
                self._engine.cancel(part.id)
            self._may_follow.set()

    def _common(self, name: str) -> Common:
        task = self._task
        return {
            "id": f"{self._id}.{name}",
            "rank": task.tier.rank if task.tier else 0,
            "deadline": task.deadline,
            "start_by": None if self.begun or task.attempt > 1 else task.start_by,
            "owner": task.owner,
        }
