"""What of dead letters stands beside their states in Redis: the record, and each owner's list by time.

All is written by one script, so that it never disagrees. What is older than its topic keeps it is trimmed off the list.
"""

from __future__ import annotations

import msgspec

from connectors.letter_state import LETTER_TTL

KEPT_MS = int(LETTER_TTL.total_seconds() * 1000)

WRITE = """
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 's', ARGV[3], 'd', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[6], ARGV[7])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[8])
redis.call('PEXPIRE', KEYS[2], ARGV[9])
return 1
"""
"""Writes a state if its version is still the one that was read, and what stands beside it."""


class Listed(msgspec.Struct, frozen=True):
    """What is written with a letter's state: its record, and its place in the list of its owner."""

    id: str
    owner: str
    at: int
    record: bytes

    def names(self) -> tuple[str]:
        """Return the name of what the script writes beside the state, without the prefix."""
        return (letters_of(self.owner),)

    def arguments(self, now: int) -> list[str | int | bytes]:
        """Return the script's arguments from the fifth on; `now` is in ms since the epoch."""
        return [self.record, self.at, self.id, now - KEPT_MS, KEPT_MS]


def letters_of(owner: str) -> str:
    """Return the name of the list of an owner's letters, without the prefix."""
    return f"letters:{owner}"
