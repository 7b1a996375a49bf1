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
from schemas import codec
from schemas.topics import BY_NAME

if TYPE_CHECKING:
    from datetime import timedelta

    from redis.asyncio import Redis

    from schemas.records import Task

_Stored = list[tuple[str, str, bytes]]


class OutcomeStore:
    """Outcomes in Redis, remembered for `ttl`."""

    def __init__(self, redis: Redis, ttl: timedelta) -> None:
        self._redis = redis
        self._ttl = ttl

    async def find(self, task: Task) -> tuple[Outgoing, ...] | None:
        """Return what already follows from this attempt of the task, or None if it is still to be run.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        try:
            end, again = await self._redis.mget(end_slot(task.id), attempt_slot(task.id, task.attempt))
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
        begun = f"begun:{task.id}"
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.mget(end_slot(task.id), attempt_slot(task.id, task.attempt), begun)
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
            earlier = await self._redis.set(outcome.slot, _pack(outcome.records), nx=True, get=True, ex=self._ttl)
        except RedisError as error:
            raise StoreUnavailableError from error
        return (True, outcome.records) if earlier is None else (False, _unpack(earlier))


def _pack(records: tuple[Outgoing, ...]) -> bytes:
    return msgspec.msgpack.encode([(out.topic.name, out.key, codec.encode(out.record)) for out in records])


def _unpack(stored: Any) -> tuple[Outgoing, ...]:
    rows = msgspec.msgpack.decode(stored, type=_Stored)
    return tuple(
        Outgoing(BY_NAME[topic], key, codec.decode(value, BY_NAME[topic].record)) for topic, key, value in rows
    )
