"""Taking turns at a host: one request at a time from all processes of the stack, and a rest between two.

Within a process a lock keeps the line, so that one of its tasks at most waits for the lease that processes share; that
serves the tiers by turns, and a backlog in one is no wall before another. Where Redis is away, the lock alone remains.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.lease import Lease
from backbone.redis import key
from streams.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from backbone.settings import Settings

LEASE_SECONDS = 5.0
"""How long a host is left alone after a process died while it read there."""
LONGEST_REST = 3600.0
"""Seconds that a host may ask to be left alone for; what it asks for beyond that is asked for again."""

# A rest is only ever made longer: whoever asked for an hour gets it, whatever pause another request would begin.
_REST: Final = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
end
"""

_log = structlog.get_logger()


@dataclass(slots=True)
class Turn:
    """One's turn at a host.

    Attributes:
        rest: seconds for which the host is left alone afterwards; 0 means that the next turn may follow at once.
    """

    rest: float

    def at_least(self, seconds: float) -> None:
        """Leave the host alone for so long, if that is longer than it would be."""
        self.rest = max(self.rest, min(seconds, LONGEST_REST))


@dataclass(slots=True)
class _Line:
    """Those of this process who want to a host."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Hosts:
    """The turns at all hosts; one lives as long as its process."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis
        self._lengthen = redis.register_script(_REST)
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, host: str, wait: float) -> AsyncIterator[Turn]:
        """Have a host to oneself.

        Args:
            host: its name, with a port where it isn't the usual one.
            wait: the most seconds until it is one's turn.

        Raises:
            BusyError: it took longer, or would: then `retry_after` says how long the host rests.
        """
        turn = Turn(self._settings.host_pause.total_seconds())
        until = time.monotonic() + wait
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(wait):
                    await held.enter_async_context(self._line(host))
                    await self._before_others(host, until, held, turn)
            except TimeoutError:
                raise BusyError(
                    f"{host} is asked by one at a time; it was not this one's turn within {wait:.1f} s", field="url"
                ) from None
            yield turn

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

    async def _before_others(self, host: str, until: float, held: AsyncExitStack, turn: Turn) -> None:
        """Take the turn among all processes, and sit out the rest; without Redis, take it all the same."""
        # A page that is on its way is not worth breaking off for a courtesy.
        lease = Lease(self._redis, self._settings, f"web:{host}", ttl=LEASE_SECONDS, outage=0, cancels=False)
        try:
            await held.enter_async_context(lease)
            while (left := await self._redis.pttl(self._key(host)) / 1000) >= 0:
                if time.monotonic() + left > until:
                    raise BusyError(f"{host} is left alone for another {left:.1f} s", field="url", retry_after=left)
                await asyncio.sleep(left + 0.001)
            held.push_async_callback(self._begin_rest, host, turn)
        except (StoreUnavailableError, RedisError) as error:
            _log.warning("web.turns_unshared", host=host, error=str(error))

    async def _begin_rest(self, host: str, turn: Turn) -> None:
        milliseconds = int(turn.rest * 1000)
        if not milliseconds:
            return
        try:
            await self._lengthen(keys=[self._key(host)], args=[milliseconds])
        except RedisError as error:
            _log.warning("web.turns_unshared", host=host, error=str(error))

    def _key(self, host: str) -> str:
        return key(self._settings, f"web.rest:{host}")
