"""The states of tasks and schedules in Redis: read, folded and written back, also where several do so at once.

Each is a hash of a version and the state's bytes. It is written only if its version is still the one that was read;
who comes second folds anew, which the folds allow: they are idempotent and know no order.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.redis import key
from connectors.state import Place, TaskState, TimerState, fold, fold_timer
from schemas.records import Fire, Task, TaskEvent, Timer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis.asyncio import Redis

    from backbone.settings import Settings

S = TypeVar("S", bound=msgspec.Struct)

SCHEDULE_TTL = timedelta(days=30)
"""How long a schedule is kept for reads after it was removed: as long as its fires lie in Kafka."""

_WRITE = """
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 's', ARGV[3])
if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
"""


class Change(msgspec.Struct, frozen=True):
    """A record that changes a state; `of` is the task's or the schedule's id, and None removes a schedule."""

    of: str
    record: Task | TaskEvent | Timer | Fire | None
    place: Place

    @property
    def of_task(self) -> bool:
        """Whether it changes a task's state, not a schedule's."""
        return isinstance(self.record, Task | TaskEvent)

    @property
    def name(self) -> str:
        """The name of what it changes in Redis, without the prefix."""
        return f"{'task' if self.of_task else 'timer'}:{self.of}"


class States:
    """What is known of tasks and schedules."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings

    async def task(self, task_id: str) -> TaskState | None:
        """Return a task's state.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        return _decode((await self._read([f"task:{task_id}"]))[0][1], TaskState)

    async def timer(self, timer_id: str) -> TimerState | None:
        """Return a schedule's state.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        return _decode((await self._read([f"timer:{timer_id}"]))[0][1], TimerState)

    async def apply(self, changes: Iterable[Change]) -> None:
        """Fold records into the states that they change.

        Raises:
            StoreUnavailableError: Redis did not answer; fold them again.
        """
        by_name: dict[str, list[Change]] = {}
        for change in changes:
            by_name.setdefault(change.name, []).append(change)
        while by_name:
            names = list(by_name)
            written: list[str] = []
            arguments: list[tuple[str, str, str, bytes, str]] = []
            for name, (version, stored) in zip(names, await self._read(names), strict=True):
                state, ttl = self._folded(stored, by_name[name])
                data = msgspec.msgpack.encode(state)
                if data == stored:
                    del by_name[name]  # all of it was known
                    continue
                written.append(name)
                arguments.append((name, version, str(int(version or 0) + 1), data, ttl))
            for name, done in zip(written, await self._write(arguments), strict=True):
                if done:
                    del by_name[name]

    def _folded(self, stored: bytes | None, changes: Sequence[Change]) -> tuple[TaskState | TimerState, str]:
        task = _decode(stored, TaskState) if changes[0].of_task else None
        timer = None if changes[0].of_task else _decode(stored, TimerState)
        for change in changes:
            if isinstance(change.record, Task | TaskEvent):
                task = fold(task, change.record, change.place)
            else:
                timer = fold_timer(timer, change.of, change.record, change.place)
        if timer is not None:
            # A schedule that is still to fire is kept however long that takes.
            return timer, "0" if timer.active else _ms(SCHEDULE_TTL)
        if task is None:
            raise ValueError("nothing was to be folded")
        return task, _ms(self._settings.outcome_ttl)

    async def _read(self, names: Sequence[str]) -> list[tuple[str, bytes | None]]:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(key(self._settings, name), ["v", "s"])
                rows: list[Any] = await pipe.execute()
        except RedisError as error:
            raise StoreUnavailableError from error
        return [((version or b"").decode(), stored) for version, stored in rows]

    async def _write(self, rows: Sequence[tuple[str, str, str, bytes, str]]) -> list[Any]:
        if not rows:
            return []
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, version, after, data, ttl in rows:
                    pipe.eval(_WRITE, 1, key(self._settings, name), version, after, data, ttl)
                return list(await pipe.execute())
        except RedisError as error:
            raise StoreUnavailableError from error


def _decode(stored: bytes | None, state: type[S]) -> S | None:
    return None if stored is None else msgspec.msgpack.decode(stored, type=state)


def _ms(ttl: timedelta) -> str:
    return str(int(ttl.total_seconds() * 1000))
