"""A lease: for a while, at most one process of the stack does a thing; the others wait in line and are woken.

    async with Lease(redis, settings, "models:smollm2", ttl=10) as held:
        ...
        held.check()  # right before what can't be undone
        write(..., fence=held.fence)

What a lock in Redis can't promise, and what makes it safe all the same, stands in docs/leases.md.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from redis.exceptions import RedisError

from backbone.errors import LeaseLostError, LeaseTimeoutError, StoreUnavailableError
from backbone.lease_scripts import ACQUIRE, LEAVE, RENEW, Keys

if TYPE_CHECKING:
    from types import TracebackType

    from redis.asyncio import Redis

    from backbone.settings import Settings

LOOK_SECONDS: Final = 2.0
"""How long a waiter waits to be woken before it looks by itself: bounds what a wake-up that got lost costs."""
SIGN_SECONDS: Final = 3 * LOOK_SECONDS
"""After how long without a look a waiter counts as dead, and is passed over."""
DRIFT: Final = 0.05
"""Share of its time by which a holder thinks itself at the end before Redis does: clocks run at different rates."""
RETRY_SECONDS: Final = 0.25
"""Pause between tries while Redis is away."""

_log = structlog.get_logger()


class Lease:
    """A lease to be entered once, by `async with`.

    While it is held it is renewed in the background. A holder that can't renew it knows by its own monotonic clock that
    it is lost, before Redis lets another have it. Then the block is cancelled, as `asyncio.timeout` does it, and
    `LeaseLostError` leaves it; what the block does in threads and other processes it has to guard by the fence.

    Attributes:
        fence: a number that is higher than that of every holder before, once it is held.
    """

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        name: str,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        outage: float = math.inf,
        cancels: bool = True,
    ) -> None:
        """Make a lease that isn't held yet.

        Args:
            redis: a client; each waiter uses one of its connections.
            settings: of the process: the prefix keeps stacks apart.
            name: what is leased.
            ttl: seconds after which a holder that died is one no more.
            wait: the most seconds to wait; None waits for however long it takes.
            outage: seconds for which Redis may be away while this waits.
            cancels: whether the block is cancelled when the lease is lost: not where it is a mere courtesy.
        """
        self.name = name
        self.fence = 0
        self._redis = redis
        self._keys = Keys.of(settings, name)
        self._token = uuid.uuid4().hex
        self._ttl = ttl
        self._wait = wait
        self._outage = outage
        self._cancels = cancels
        self._until = 0.0
        self._lost = False
        self._left = False
        self._cancelling = 0

    @property
    def lost(self) -> bool:
        """Whether somebody else may have it by now."""
        return self._lost or time.monotonic() >= self._until

    def check(self) -> None:
        """Make sure that it is still held.

        Raises:
            LeaseLostError: it is not.
        """
        if self.lost:
            raise LeaseLostError(f"{self.name} is another's by now")

    async def __aenter__(self) -> Self:
        """Wait for it and hold it.

        Raises:
            LeaseTimeoutError: it was not free in time.
            StoreUnavailableError: Redis was away for longer than `outage`.
        """
        holder = asyncio.current_task()
        if holder is None:
            raise RuntimeError("a lease is entered in a task")
        try:
            async with asyncio.timeout(self._wait):
                await self._acquire()
        except TimeoutError:
            await self._leave()
            raise LeaseTimeoutError(f"{self.name} was not free within {self._wait:g} s") from None
        except BaseException:
            await self._leave()
            raise
        self._holder, self._cancelling = holder, holder.cancelling()
        self._renewing = asyncio.create_task(self._renew(), name=f"lease {self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        self._renewing.cancel()
        # It may have been lost in the meantime, and have cancelled this task.
        interrupted = self._lost and self._cancels and self._holder.uncancel() <= self._cancelling
        await self._leave()
        if interrupted and kind is asyncio.CancelledError:
            raise LeaseLostError(f"{self.name} was lost while it was needed") from error

    async def _acquire(self) -> None:
        away_since: float | None = None
        while True:
            asked = time.monotonic()
            try:
                fence, free_in = await self._run(ACQUIRE, int(self._ttl * 1000), int(SIGN_SECONDS * 1000))
                if fence:
                    self.fence = int(fence)
                    self._until = asked + self._ttl * (1 - DRIFT)
                    return
                # A holder that died wakes nobody: the first in line looks again when its time is over.
                seconds = LOOK_SECONDS if free_in < 0 else min(LOOK_SECONDS, (free_in + 1) / 1000)
                await self._redis.blpop([self._keys.wake + self._token], seconds)
                away_since = None
            except RedisError as error:
                if away_since is None:
                    away_since = asked
                    _log.warning("lease.store_away", name=self.name, error=str(error))
                if time.monotonic() - away_since >= self._outage:
                    raise StoreUnavailableError from error
                await asyncio.sleep(RETRY_SECONDS)

    async def _renew(self) -> None:
        """Keep it until cancelled; where that fails, say that it is lost."""
        pause = self._ttl / 3
        while not self._left:
            await asyncio.sleep(max(0.0, min(pause, self._until - time.monotonic())))
            asked = time.monotonic()
            if asked >= self._until:
                break
            try:
                async with asyncio.timeout(self._until - asked):
                    mine = await self._run(RENEW, int(self._ttl * 1000))
            except (RedisError, TimeoutError) as error:
                _log.warning("lease.unrenewed", name=self.name, error=str(error))
                pause = min(RETRY_SECONDS, self._ttl / 10)
                continue
            if not mine:
                break
            self._until = asked + self._ttl * (1 - DRIFT)
            pause = self._ttl / 3
        if self._left:  # redis-py swallows a cancellation now and then: what was given back is not lost
            return
        _log.warning("lease.lost", name=self.name)
        self._lost = True
        if self._cancels:
            self._holder.cancel()

    async def _leave(self) -> None:
        """Give it back, or leave the line, also where this task is cancelled (once more) meanwhile."""
        # Broken off, it would stay in everybody's way until its time is over.
        await asyncio.shield(asyncio.create_task(self._tell_left(), name=f"leave lease {self.name}"))

    async def _tell_left(self) -> None:
        """Tell Redis; it forgets by itself what can't be told to it."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._run(LEAVE, int(SIGN_SECONDS * 1000))
        except (RedisError, TimeoutError) as error:
            _log.warning("lease.unreleased", name=self.name, error=str(error))

    async def _run(self, script: str, *arguments: int) -> Any:
        return await self._redis.register_script(script)(self._keys, (self._token, *arguments))
