"""Taking turns at a host: one request at a time from all processes of the stack, and a pause between two.

Within a process a lock keeps the line, so that one of its tasks at most waits for the lease that processes share; that
serves the tiers by turns, and a backlog in one is no wall before another. Where Redis is away, the lock alone remains.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.lease import Lease
from backbone.redis import connect, key
from streams.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.settings import Settings

LEASE_SECONDS = 5.0
"""How long a host is left alone after a process died while it read there."""

_log = structlog.get_logger()


@dataclass(slots=True)
class _Line:
    """Those of this process who want to a host."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Hosts:
    """The turns at all hosts; one lives as long as its process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = connect(settings)
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, host: str, wait: float) -> AsyncIterator[None]:
        """Have a host to oneself.

        Args:
            host: its name, with a port where it isn't the usual one.
            wait: the most seconds until it is one's turn.

        Raises:
            BusyError: it took longer.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(wait):
                    await held.enter_async_context(self._line(host))
                    await self._before_others(host, held)
            except TimeoutError:
                raise BusyError(
                    f"{host} is asked by one at a time; it was not this one's turn within {wait:.1f} s", field="url"
                ) from None
            yield

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()

    @asynccontextmanager
    async def _line(self, host: str) -> AsyncIterator[None]:
        line = self._lines.setdefault(host, _Line())
        line.length += 1
        try:
            async with line.lock:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[host]

    async def _before_others(self, host: str, held: AsyncExitStack) -> None:
        """Take the turn among all processes, and sit out the pause; without Redis, take it all the same."""
        # A page that is on its way is not worth breaking off for a courtesy.
        lease = Lease(self._redis, self._settings, f"web:{host}", ttl=LEASE_SECONDS, outage=0, cancels=False)
        try:
            await held.enter_async_context(lease)
            if self._settings.host_pause:
                while (left := await self._redis.pttl(self._rest(host))) >= 0:  # noqa: ASYNC110 - a key that expires
                    await asyncio.sleep((left + 1) / 1000)
                held.push_async_callback(self._begin_rest, host)
        except (StoreUnavailableError, RedisError) as error:
            _log.warning("web.turns_unshared", host=host, error=str(error))

    async def _begin_rest(self, host: str) -> None:
        try:
            await self._redis.set(self._rest(host), 1, px=self._settings.host_pause)
        except RedisError as error:
            _log.warning("web.turns_unshared", host=host, error=str(error))

    def _rest(self, host: str) -> str:
        return key(self._settings, f"web.rest:{host}")
