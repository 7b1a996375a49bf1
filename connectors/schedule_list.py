"""What of schedules stands beside their states in Redis: each owner's list, and each schedule's history.

The list holds the schedules that are still to fire, by when they were made; the history the latest fires. Both are
written with the state, by one script, so that they never disagree with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from connectors.state import Fired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connectors.state import TimerState

MAX_HISTORY = 1000
"""Fires that a history keeps, the latest ones; all of 30 days lie in the topic `timers.fired`."""
HISTORY_TTL = timedelta(days=30)

WRITE = """
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 's', ARGV[3])
if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
redis.call('ZREM', KEYS[2], ARGV[5])
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5]) end
if ARGV[9] then
  for i = 9, #ARGV, 2 do redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i + 1]) end
  redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[7])
  redis.call('PEXPIRE', KEYS[4], ARGV[8])
end
return 1
"""
"""Writes a state if its version is still the one that was read, and what stands beside it."""


class Beside(msgspec.Struct, frozen=True):
    """What is written with a schedule's state.

    Attributes:
        id: the schedule's.
        was: whose list it may be in.
        owner: whose list it is in from now on, if any's.
        made_at: when it was made, which orders the list.
        fires: to be added to its history.
    """

    id: str
    was: str
    owner: str | None
    made_at: int
    fires: tuple[Fired, ...]

    def names(self) -> tuple[str, str, str]:
        """Return the names of what the script writes beside the state, in its order, without the prefix."""
        return schedules_of(self.was), schedules_of(self.owner or ""), history_of(self.id)

    def arguments(self) -> list[str | int | bytes]:
        """Return the script's arguments from the fifth on."""
        fires = [part for fired in self.fires for part in (fired.fire.slot, msgspec.msgpack.encode(fired))]
        ttl = int(HISTORY_TTL.total_seconds() * 1000)
        return [self.id, "" if self.owner is None else self.made_at, MAX_HISTORY, ttl, *fires]


def beside(before: TimerState | None, after: TimerState, fires: Iterable[Fired]) -> Beside:
    """Return what is to be written with a state.

    Args:
        before: the state that it replaces.
        after: the state.
        fires: those among the records that made it.
    """
    was = before.timer.owner if before and before.timer else ""
    timer = after.timer
    if timer is None or not _is_schedule(after):
        # A retry is a timer too; its one fire is of no interest to anybody.
        return Beside(after.id, was, None, 0, () if timer else tuple(fires))
    return Beside(after.id, was, timer.owner if after.active else None, timer.created_at, tuple(fires))


def schedules_of(owner: str) -> str:
    """Return the name of the list of an owner's schedules, without the prefix."""
    return f"schedules:{owner}"


def history_of(timer_id: str) -> str:
    """Return the name of a schedule's history, without the prefix."""
    return f"fires:{timer_id}"


def _is_schedule(state: TimerState) -> bool:
    """Whether someone made it: a task that is to be tried again has an id already."""
    task = state.timer.template.task if state.timer else None
    return task is not None and not task.id
