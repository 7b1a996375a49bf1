"""The requests of one partition that are in hand: taken in order, answered side by side, committed in order.

Look-ahead is bounded: a partition whose first request is slow is paused, so that what may have to be done again after
a death is bounded too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from inference_worker.offsets import Offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOOK_AHEAD = 256
"""From the first request that has not ended to the last that was taken: so many, and never more."""
AT_ONCE = 32
"""Messages that may still be on their way when a partition is paused."""


class RequestPartition(NamedTuple):
    """Which partition: the topic's name as Kafka has it, and the number."""

    topic: str
    number: int


class InHand:
    """What this worker has of one partition."""

    def __init__(self, flow: Callable[[bool], None]) -> None:
        """Begin with nothing.

        Args:
            flow: called with False when no more may come, and with True when more may.
        """
        self.offsets = Offsets()
        self._flow = flow
        self._flowing = True
        self._working: dict[int, asyncio.Task[None]] = {}
        self._ids: dict[int, str] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is in hand."""
        return not self._working

    @property
    def task_ids(self) -> list[str]:
        """The ids of what is in hand, as far as they are known."""
        return list(self._ids.values())

    def take(self, offset: int, work: Coroutine[None, None, None]) -> None:
        """Begin to work on a message; what was taken before is not taken again."""
        if not self.offsets.take(offset):
            work.close()
            return
        task = self._working[offset] = asyncio.create_task(work)
        task.add_done_callback(lambda done: self._finished(offset, done))
        self._set_flow()

    def know(self, offset: int, task_id: str) -> None:
        """Note which task a message turned out to hold."""
        self._ids[offset] = task_id

    async def settled(self) -> None:
        """Wait until nothing is in hand."""
        while self._working:
            await asyncio.wait(self._working.values())

    async def let_go(self) -> None:
        """Stop working on what is in hand; another worker goes on with it."""
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finished(self, offset: int, task: asyncio.Task[None]) -> None:
        del self._working[offset]
        self._ids.pop(offset, None)
        if task.cancelled():
            return
        if error := task.exception():
            # Work tries again by itself whatever may pass: this is a fault of ours, and the offset stays uncommitted.
            asyncio.get_running_loop().call_exception_handler({"message": "request failed", "exception": error})
            return
        self.offsets.done(offset)
        self._set_flow()

    def _set_flow(self) -> None:
        flowing = len(self.offsets) <= (LOOK_AHEAD - AT_ONCE if self._flowing else LOOK_AHEAD // 2)
        if flowing != self._flowing:
            self._flowing = flowing
            self._flow(flowing)
