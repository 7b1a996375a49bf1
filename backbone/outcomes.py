"""The store that makes an outcome happen once: Redis decides which of several is the one.

Before a worker produces what follows from a task it writes it here under the outcome's slot, by `SET … NX GET`: the
first one in wins. A loser, or a redelivery, gets the winner's records and produces those again, which readers ignore,
and runs nothing. Redis away means that nothing is decided: `StoreUnavailableError`, and the caller waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.outcome import Outcome, Outgoing, attempt_slot, end_slot
from backbone.redis import key
from schemas import codec
from schemas.topics import BY_NAME

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backbone.settings import Settings
    from schemas.records import Task

_Stored = list[tuple[str, str, bytes]]


class OutcomeStore:
    """Outcomes in Redis, remembered for the settings' `outcome_ttl`."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings

    async def find(self, task: Task) -> tuple[Outgoing, ...] | None:
        """Return what already follows from this attempt of the task, or None if it is still to be run.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        try:
            end, again = await self._redis.mget(self._slots(task))
        except RedisError as error:
            raise StoreUnavailableError from error
        stored = end or again
        return _unpack(stored) if stored else None

    async def begin(self, task: Task, *, late: bool) -> tuple[tuple[Outgoing, ...] | None, bool]:
        """Look a task up that is about to be run, and note that its first attempt has begun.

        Args:
            task: a stamped task.
            late: whether it is too late to begin: then nothing is noted.

        Returns:
            What already follows from this attempt, or None; and whether an attempt had begun in time before, by a
            worker that died since.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        begun = key(self._settings, f"begun:{task.id}")
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.mget(*self._slots(task), begun)
                if not late:
                    pipe.set(begun, 1, pxat=task.deadline)
                (end, again, earlier), *_ = await pipe.execute()
        except RedisError as error:
            raise StoreUnavailableError from error
        stored = end or again
        return (_unpack(stored) if stored else None), earlier is not None

    async def settle(self, outcome: Outcome) -> tuple[bool, tuple[Outgoing, ...]]:
        """Make this the outcome of its slot, unless there is one.

        Returns:
            Whether this one won, and the records of the one that did.

        Raises:
            StoreUnavailableError: Redis did not answer; whether it was written is not known, so settle it again.
        """
        try:
            earlier = await self._redis.set(
                key(self._settings, outcome.slot),
                _pack(outcome.records),
                nx=True,
                get=True,
                ex=self._settings.outcome_ttl,
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
