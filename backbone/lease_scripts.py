"""What a lease does in Redis, each step one script, so that nothing comes between its parts.

A lease has four keys: who holds it (expires by itself), who waits (a list, in the order of arrival), when each waiter
was last heard of, and one list a waiter by which it alone is woken. A fifth, the fencing number, is shared by all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from backbone.redis import key

if TYPE_CHECKING:
    from backbone.settings import Settings

_PRELUDE: Final = """
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('GET', KEYS[1])
local mine = held and string.sub(held, 1, #token) == token

-- The waiter that has waited longest of those that still give signs of life; the others are forgotten.
local function first_waiter()
  local first = redis.call('LINDEX', KEYS[3], 0)
  while first and tonumber(redis.call('ZSCORE', KEYS[4], first) or 0) < now do
    redis.call('LPOP', KEYS[3])
    redis.call('ZREM', KEYS[4], first)
    first = redis.call('LINDEX', KEYS[3], 0)
  end
  return first
end
"""

ACQUIRE: Final = (
    _PRELUDE
    + """
local ttl, sign = ARGV[2], ARGV[3]
if mine then  -- a repeat of a call whose reply was lost
  redis.call('PEXPIRE', KEYS[1], ttl)
  return {string.sub(held, #token + 2), 0}
end
redis.call('ZADD', KEYS[4], now + sign, token)
if not redis.call('LPOS', KEYS[3], token) then
  redis.call('RPUSH', KEYS[3], token)
end
redis.call('PEXPIRE', KEYS[3], sign)
redis.call('PEXPIRE', KEYS[4], sign)
local first = first_waiter()
if held or first ~= token then
  return {'', first == token and redis.call('PTTL', KEYS[1]) or -1}
end
-- Never the same number twice, and never a lower one, even where Redis has lost the last: in microseconds, as within a
-- millisecond it can be asked, emptied and asked again.
local moment = time[1] * 1000000 + time[2]
local fence = string.format('%.0f', math.max(tonumber(redis.call('GET', KEYS[2]) or 0) + 1, moment))
redis.call('SET', KEYS[2], fence)
redis.call('SET', KEYS[1], token .. '/' .. fence, 'NX', 'PX', ttl)
redis.call('LPOP', KEYS[3])
redis.call('ZREM', KEYS[4], token)
return {fence, 0}
"""
)
"""Take the lease if it is free and nobody was there before; else wait in line.

ARGV: token, ms for which the lease is held, ms for which this waiter counts as alive. Returns the fencing number, or an
empty string and the ms after which the lease may be free without anybody being woken (-1: it isn't this one's turn).
"""

RENEW: Final = (
    _PRELUDE
    + """
return mine and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0
"""
)
"""Hold it for another ARGV[2] ms if it still is this one's; returns 1, or 0 if it is not."""

LEAVE: Final = (
    _PRELUDE
    + """
if mine then
  redis.call('DEL', KEYS[1])
end
redis.call('LREM', KEYS[3], 0, token)
redis.call('ZREM', KEYS[4], token)
local first = (mine or not held) and first_waiter()
if first then
  redis.call('RPUSH', KEYS[5] .. first, 1)
  redis.call('PEXPIRE', KEYS[5] .. first, ARGV[2])
end
"""
)
"""Give it back, or wait no longer, and wake whoever is next. ARGV[2]: ms after which a wake-up that nobody heard goes."""


class Keys(NamedTuple):
    """The keys of a lease, in the order in which the scripts have them.

    All leases share a hash tag, so that they and the number that they share lie in one slot of a cluster.
    """

    holder: str
    fence: str
    queue: str
    seen: str
    wake: str

    @classmethod
    def of(cls, settings: Settings, name: str) -> Keys:
        """Return the keys of the lease of that name; `wake` is what a waiter's token is put behind."""
        mine = key(settings, f"{{lease}}:{name}")
        return cls(f"{mine}:holder", key(settings, "{lease}:fence"), f"{mine}:queue", f"{mine}:seen", f"{mine}:wake:")
