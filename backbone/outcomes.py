"""The store that makes an outcome happen once: Redis decides which of several is the one.

Before a worker produces what follows from a task it writes it here under the outcome's slot, by `SET … NX GET`: the
first one in wins. A loser, or a redelivery, gets the winner's records and produces those again, which readers ignore,
and runs nothing. Redis away means that nothing is decided: `StoreUnavailableError`, and the caller waits.

Beside the slots it keeps who began each attempt, so that a task that kills whoever runs it is found out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.ids import new_id
from backbone.outcome import Outcome, Outgoing, attempt_slot, end_slot
from backbone.pipelined import Pipelined, Script
from backbone.redis import key
from schemas import codec
from schemas.topics import BY_NAME

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backbone.settings import Settings
    from schemas.records import Task

_Stored = list[tuple[str, str, bytes]]

# One call. It may come twice where an answer was lost: each worker counts once.
_BEGIN: Final = Script("""
local end_, again, begun = unpack(redis.call('MGET', KEYS[1], KEYS[2], KEYS[3]))
local worker, late, deadline = ARGV[1], ARGV[2], ARGV[3]
if not end_ and not again and (begun or late == '0') and not (begun and string.find(begun, worker, 1, true)) then
  redis.call('SET', KEYS[3], (begun or '') .. worker .. ' ', 'PXAT', deadline)
end
return {end_ or again, begun}
""")


class Begun(NamedTuple):
    """What is known of an attempt that is about to be run.

    Attributes:
        follows: the records that follow from it already, or None if it is to be run.
        begun: whether somebody had begun it before.
        deaths: how many others had, and came to no outcome.
    """

    follows: tuple[Outgoing, ...] | None
    begun: bool
    deaths: int


class OutcomeStore:
    """Outcomes in Redis, remembered for the settings' `outcome_ttl`."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = Pipelined(redis)
        self._settings = settings
        # Host and process id come again where a container is started again; this does not.
        self._worker = new_id().encode()

    async def find(self, task: Task) -> tuple[Outgoing, ...] | None:
        """Return what already follows from this attempt of the task, or None if it is still to be run.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        try:
            end, again = await self._redis.call("MGET", *self._slots(task))
        except RedisError as error:
            raise StoreUnavailableError from error
        stored = end or again
        return _unpack(stored) if stored else None

    async def begin(self, task: Task, *, late: bool) -> Begun:
        """Look an attempt up that is about to be run, and note that this process begins it.

        Args:
            task: a stamped task.
            late: whether it is too late to begin: then nothing is noted, unless somebody had begun it before.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        begun = key(self._settings, f"begun:{task.id}:{task.attempt}")
        try:
            stored, workers = await self._redis.run(
                _BEGIN, [*self._slots(task), begun], [self._worker, int(late), task.deadline]
            )
        except RedisError as error:
            raise StoreUnavailableError from error
        others = set((workers or b"").split()) - {self._worker}
        return Begun(_unpack(stored) if stored else None, workers is not None, len(others))

    async def settle(self, outcome: Outcome) -> tuple[bool, tuple[Outgoing, ...]]:
        """Make this the outcome of its slot, unless there is one.

        Returns:
            Whether this one won, and the records of the one that did.

        Raises:
            StoreUnavailableError: Redis did not answer; whether it was written is not known, so settle it again.
        """
        try:
            earlier = await self._redis.call(
                *("SET", key(self._settings, outcome.slot), _pack(outcome.records)),
                *("NX", "GET", "PX", self._settings.outcome_ttl // timedelta(milliseconds=1)),
                get=True,
            )
        except RedisError as error:
            raise StoreUnavailableError from error
        return (True, outcome.records) if earlier is None else (False, _unpack(earlier))

    def _slots(self, task: Task) -> tuple[str, str]:
        """Return where a task's end, and that this attempt is followed by another, are kept."""
        return key(self._settings, end_slot(task.id)), key(self._settings, attempt_slot(task.id, task.attempt))


def _pack(records: tuple[Outgoing, ...]) -> bytes:
    return msgspec.msgpack.encode([(out.topic.name, out.key, codec.encode(out.record)) for out in records])


def _unpack(stored: Any) -> tuple[Outgoing, ...]:
    rows = msgspec.msgpack.decode(stored, type=_Stored)
    return tuple(
        Outgoing(BY_NAME[topic], key, codec.decode(value, BY_NAME[topic].record)) for topic, key, value in rows
    )
