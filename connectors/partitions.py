"""Which partitions of the log the edge reads: those that somebody hears of, and for a while after that."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connectors.sessions import Sessions
    from connectors.tail import Tail

_log = structlog.get_logger()

LINGER = 60.0
"""Seconds for which a partition is read on that nobody needs: the next task may lie there."""


class Partitions:
    """Attaches partitions before they are needed, and lets go of them."""

    def __init__(self, tail: Tail, sessions: Sessions, *, linger: float = LINGER) -> None:
        self._tail = tail
        self._sessions = sessions
        self._linger = linger
        self._used: dict[int, float] = {}
        self._attached: set[int] = set()
        self._turn = asyncio.Lock()

    @property
    def attached(self) -> frozenset[int]:
        """Those that are read."""
        return frozenset(self._attached)

    async def need(self, numbers: Iterable[int]) -> None:
        """Have partitions read; whoever needs them says so to the sessions before it awaits anything.

        Raises:
            BrokerUnavailableError: the broker did not answer.
        """
        wanted = set(numbers)
        self._used |= dict.fromkeys(wanted, time.monotonic())
        if wanted <= self._attached:
            return
        async with self._turn:
            if missing := wanted - self._attached:
                await self._tail.attach(missing, self._sessions.attach)
                self._attached |= missing
        self._used |= dict.fromkeys(wanted, time.monotonic())

    async def watch(self) -> None:
        """Let go of what is not needed, again and again."""
        while True:
            await asyncio.sleep(self._linger / 4)
            await self.let_go()

    async def let_go(self) -> None:
        """Read no more of what nobody needed for long enough."""
        async with self._turn:
            since = time.monotonic() - self._linger
            idle = {number for number in self._attached - self._sessions.needed if self._used[number] < since}
            if idle:
                self._attached -= idle
                self._sessions.detach(idle)
                self._tail.detach(idle)
                _log.debug("partitions.detached", partitions=sorted(idle))
