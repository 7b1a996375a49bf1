"""So many a second, over all processes: the generic cell rate algorithm (ITU-T I.371) in Redis, one call a turn.

Redis keeps one number for each name: when the next turn is due if all go on evenly. Whoever takes a turn moves it on,
and is told how long to wait for it. The clock is Redis' own, so that processes whose clocks differ share one rate. Where
Redis is away nothing is held back: a rate protects, and what it protects can do without it for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from redis.exceptions import RedisError

from backbone.redis import key

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backbone.settings import Settings

_log = structlog.get_logger()

# Times are in microseconds; doubles hold those of the epoch exactly. The key goes when it says nothing any more.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, slack, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = math.max(due - slack - now, 0)
if wait <= longest then
  due = due + interval
  redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
end
return math.ceil(wait)
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much is let through.

    Attributes:
        per_second: turns a second in the long run, over 0.
        burst: turns that may be taken at once after a time in which none was, at least 1.
    """

    per_second: float
    burst: int = 1


class RateLimiter:
    """Takes turns."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._settings = settings
        self._take = redis.register_script(_TAKE)

    async def take(self, name: str, rate: Rate, *, longest: float) -> float:
        """Take a turn, and return the seconds to wait for it.

        Args:
            name: whose turns these are; all who use the name give it the same rate.
            rate: how much is let through.
            longest: seconds that the caller would wait. If the answer is more than that, no turn was taken.
        """
        interval = 1e6 / rate.per_second
        try:
            wait = await self._take(
                keys=[key(self._settings, f"rate:{name}")],
                args=[interval, interval * (rate.burst - 1), longest * 1e6],
            )
        except RedisError as error:
            _log.warning("rate.unheld", name=name, error=str(error))
            return 0.0
        return int(wait) / 1e6
