"""A bounded place for what hosts said: small things in Redis, where all processes find them, larger ones on disk.

It may lose anything at any time, and then is slower and not wrong. What was put first goes first when it is full. A
name has one value: what is put in one place is gone from the other.
"""

from __future__ import annotations

import asyncio
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.exceptions import RedisError

from backbone.redis import key
from streams.web.disk import Folder

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backbone.settings import Settings

SMALL = 32 * 1024
"""Bytes, compressed, up to which a value is kept in Redis."""
OVERHEAD = 256
"""Bytes that a value takes there beside itself."""
LARGEST = 16 * 1024 * 1024
"""Bytes of the largest value, not compressed."""

_PATIENCE = 1.0
"""Seconds that a Redis which hangs is waited for: a page has better uses for its time."""

# The sizes count what has expired as well, until it is the oldest and goes: they bound what there is from above.
_PUT: Final = """
local order, sizes, prefix = KEYS[1], KEYS[2], KEYS[3]
local name, data, life, bound, overhead = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local total = tonumber(redis.call('HGET', sizes, '') or 0)
local function forget(old)
  total = total - tonumber(redis.call('HGET', sizes, old) or 0)
  redis.call('HDEL', sizes, old)
  redis.call('ZREM', order, old)
  redis.call('UNLINK', prefix .. old)
end
forget(name)
if #data > 0 then
  local time = redis.call('TIME')
  redis.call('ZADD', order, time[1] * 1000000 + time[2], name)
  redis.call('HSET', sizes, name, #data + overhead)
  redis.call('SET', prefix .. name, data, 'PX', life)
  total = total + #data + overhead
end
while total > bound do
  local oldest = redis.call('ZRANGE', order, 0, 0)[1]
  if not oldest then break end
  forget(oldest)
end
redis.call('HSET', sizes, '', string.format('%.0f', total))
"""

_log = structlog.get_logger()


class CacheStore:
    """Keeps bytes by name; processes share what is in Redis, and those of one machine the disk."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        # One slot of a cluster, for the script touches them together.
        self._prefix = key(settings, "{web.cache}:")
        self._bound = settings.web_cache_memory
        self._redis = redis
        self._put = redis.register_script(_PUT)
        self._folder = Folder(settings.cache / "web", settings.web_cache_disk)

    async def get(self, name: str) -> bytes | None:
        """Return what was put under a name, or None where it is not there (any more)."""
        digest = _digest(name)
        packed: Any = None
        try:
            async with asyncio.timeout(_PATIENCE):
                packed = await self._redis.get(self._prefix + digest)
        except (RedisError, TimeoutError) as error:
            _log.warning("web.cache_unshared", error=str(error))
        if packed is None:
            packed = await asyncio.to_thread(self._folder.get, digest)
        return None if packed is None else await asyncio.to_thread(zlib.decompress, packed)

    async def put(self, name: str, data: bytes, life: float) -> None:
        """Keep `data` for so many seconds, if there is room; for less than one, forget what there is."""
        digest = _digest(name)
        packed = b"" if life < 1 or len(data) > LARGEST else await asyncio.to_thread(zlib.compress, data, 1)
        small = len(packed) <= SMALL
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._put(
                    keys=[self._prefix + "order", self._prefix + "sizes", self._prefix],
                    args=[digest, packed if small else b"", int(life * 1000), self._bound, OVERHEAD],
                )
        except (RedisError, TimeoutError) as error:
            _log.warning("web.cache_unshared", error=str(error))
        if small:
            await asyncio.to_thread(self._folder.drop, digest)
        else:
            await asyncio.to_thread(self._folder.put, digest, packed, life)


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()
