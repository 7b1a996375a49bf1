"""What of tasks stands beside their states in Redis: each owner's list by time, and which of those that stream are not over.

All is written by one script with the state, so that it never disagrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.topics import INFERENCE_KINDS

if TYPE_CHECKING:
    from connectors.state import TaskState

WRITE = """
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 's', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if ARGV[8] == '' then redis.call('ZREM', KEYS[3], ARGV[5]) else
  redis.call('ZADD', KEYS[3], ARGV[8], ARGV[5])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[7])
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
end
return 1
"""
"""Writes a state if its version is still the one that was read, and what stands beside it."""


class Listed(msgspec.Struct, frozen=True):
    """What is written with a task's state: its place in its owner's lists.

    Attributes:
        began: when the log first spoke of it, in ms since the epoch.
        streams: whether it streams and is not over.
    """

    id: str
    owner: str
    began: int
    streams: bool

    @classmethod
    def of(cls, state: TaskState) -> Listed:
        """Return what a state says of the lists."""
        streams = state.end is None and state.about.kind.startswith(INFERENCE_KINDS)
        return cls(state.id, state.about.owner, state.began, streams)

    def names(self) -> tuple[str, str]:
        """Return the names of what the script writes beside the state, without the prefix."""
        return tasks_of(self.owner), running_of(self.owner)

    def arguments(self, oldest: int) -> list[str | int | bytes]:
        """Return the script's arguments from the fifth on; what is older is taken off the lists."""
        return [self.id, self.began, oldest, self.began if self.streams else ""]


def tasks_of(owner: str) -> str:
    """Return the name of the list of an owner's tasks, without the prefix."""
    return f"tasks:{owner}"


def running_of(owner: str) -> str:
    """Return the name of the list of an owner's tasks that stream and are not over, without the prefix."""
    return f"running:{owner}"
