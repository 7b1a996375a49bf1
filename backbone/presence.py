"""Who is there: each process says in Redis what it is and whether it serves, at each change and every few seconds.

A key that expires, not a registry: a process that dies is gone after `TTL` without anybody noticing its death. Nothing
is decided by it; the edge and `barnabas doctor` show it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog
from redis.exceptions import RedisError

from backbone.redis import key

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backbone.settings import Settings
    from backbone.telemetry import Readiness

TTL = timedelta(seconds=10)
_PREFIX = "presence:"
_log = structlog.get_logger()


class Present(msgspec.Struct, frozen=True):
    """A process that was there within the last seconds.

    Attributes:
        service: such as `streams.urgent` or `inference_worker`.
        instance: unique among the processes of a service.
        ready: whether it serves.
        detail: what it is doing until then.
    """

    service: str
    instance: str
    ready: bool
    detail: str


def instance_name() -> str:
    """Return a name for this process: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def announce(redis: Redis, settings: Settings, service: str, readiness: Readiness) -> None:
    """Say that this process is there, until cancelled; then say that it is gone."""
    instance = instance_name()
    name = key(settings, f"{_PREFIX}{service}:{instance}")
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    readiness.on_change(lambda: loop.call_soon_threadsafe(changed.set))
    try:
        while True:
            changed.clear()
            here = Present(service, instance, readiness.ready, readiness.detail)
            try:
                await redis.set(name, msgspec.json.encode(here), ex=TTL)
            except RedisError as error:
                _log.warning("presence.unsaid", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(TTL.total_seconds() / 3):
                    await changed.wait()
    finally:
        readiness.on_change(None)
        try:
            await redis.delete(name)
        except RedisError as error:
            _log.warning("presence.unsaid", error=str(error))


async def who_is_there(redis: Redis, settings: Settings) -> list[Present]:
    """Return the processes that were there within the last `TTL`, by name.

    Raises:
        redis.exceptions.RedisError: Redis did not answer.
    """
    names = [name async for name in redis.scan_iter(match=key(settings, f"{_PREFIX}*"), count=1000)]
    values = await redis.mget(names) if names else []
    return sorted(
        (msgspec.json.decode(value, type=Present) for value in values if value),
        key=lambda present: (present.service, present.instance),
    )
