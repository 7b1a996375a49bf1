"""The states of tasks, schedules and dead letters in Redis: read, folded and written back, by several at once too.

Each is a hash of a version and the state's bytes. It is written only if its version is still the one that was read;
who comes second folds anew, which the folds allow: they are idempotent and know no order. With a letter's state its
record is written, and its place in its owner's list (`letter_list`); with a schedule's, what `schedule_list` tells of.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from backbone.clock import now_ms
from backbone.errors import StoreUnavailableError
from backbone.redis import key
from connectors.letter_list import KEPT_MS, Listed
from connectors.letter_list import WRITE as WRITE_LETTER
from connectors.letter_state import LetterState, fold_letter
from connectors.schedule_list import WRITE as WRITE_TIMER
from connectors.schedule_list import Beside, beside, history_of
from connectors.state import Fired, Place, TaskState, TimerState, fold, fold_timer
from connectors.task_list import WRITE as WRITE_TASK
from connectors.task_list import Listed as ListedTask
from connectors.task_list import running_of
from schemas import codec
from schemas.records import DeadLetter, Fire, Task, TaskEvent, Timer

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
    """A record that changes a state; `of` is the task's, schedule's or letter's id, and None removes a schedule."""

    of: str
    record: Task | TaskEvent | DeadLetter | Timer | Fire | None
    place: Place

    @property
    def name(self) -> str:
        """The name of what it changes in Redis, without the prefix."""
        match self.record:
            case Task() | TaskEvent():
                return f"task:{self.of}"
            case DeadLetter():
                return f"letter:{self.of}"
            case _:
                return f"timer:{self.of}"


class _Write(msgspec.Struct, frozen=True):
    """A state to be written if its version is still the one that was read; `ttl` is in ms."""

    name: str
    version: str
    state: bytes
    ttl: int | None
    beside: Listed | ListedTask | Beside | None = None


class States:
    """What is known of tasks, schedules and dead letters."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings

    async def task(self, task_id: str) -> TaskState | None:
        """Return a task's state.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        return _decode((await self._read([f"task:{task_id}"]))[0][1], TaskState)

    async def tasks(self, task_ids: Sequence[str]) -> list[TaskState | None]:
        """Return the states of tasks.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        rows = await self._read([f"task:{task_id}" for task_id in task_ids])
        return [_decode(stored, TaskState) for _, stored in rows]

    async def running(self, owners: Iterable[str]) -> list[TaskState]:
        """Return the states of tasks of these owners that stream and are not over, as far as is known.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        found: list[str] = []
        try:
            for owner in owners:
                rows: Any = await self._redis.zrange(key(self._settings, running_of(owner)), 0, -1)
                found += [row.decode() for row in rows]
        except RedisError as error:
            raise StoreUnavailableError from error
        return [state for state in await self.tasks(found) if state is not None and state.end is None]

    async def timer(self, timer_id: str) -> TimerState | None:
        """Return a schedule's state.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        return _decode((await self._read([f"timer:{timer_id}"]))[0][1], TimerState)

    async def timers(self, timer_ids: Sequence[str]) -> list[TimerState | None]:
        """Return the states of schedules.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        rows = await self._read([f"timer:{timer_id}" for timer_id in timer_ids])
        return [_decode(stored, TimerState) for _, stored in rows]

    async def history(self, timer_id: str) -> list[Fired]:
        """Return the latest fires of a schedule, by slot.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        try:
            rows: Any = await self._redis.zrange(key(self._settings, history_of(timer_id)), 0, -1)
        except RedisError as error:
            raise StoreUnavailableError from error
        return [msgspec.msgpack.decode(row, type=Fired) for row in rows]

    async def letter(self, identity: str) -> tuple[LetterState, DeadLetter] | None:
        """Return a letter's state and its record; None as long as that was not read.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        try:
            row: Any = await self._redis.hmget(key(self._settings, f"letter:{identity}"), ["s", "d"])
        except RedisError as error:
            raise StoreUnavailableError from error
        state, record = _decode(row[0], LetterState), row[1]
        return None if state is None or record is None else (state, codec.decode(record, DeadLetter))

    async def letters(self, identities: Sequence[str]) -> list[LetterState | None]:
        """Return the states of letters.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        rows = await self._read([f"letter:{identity}" for identity in identities])
        return [_decode(stored, LetterState) for _, stored in rows]

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
            writes: list[_Write] = []
            for name, (version, stored) in zip(names, await self._read(names), strict=True):
                state, ttl, listed = self._folded(stored, by_name[name])
                data = msgspec.msgpack.encode(state)
                if data == stored:
                    del by_name[name]  # all of it was known
                else:
                    writes.append(_Write(name, version, data, ttl, listed))
            for write, done in zip(writes, await self._write(writes), strict=True):
                if done:
                    del by_name[write.name]

    def _folded(
        self, stored: bytes | None, changes: Sequence[Change]
    ) -> tuple[TaskState | TimerState | LetterState, int | None, Listed | ListedTask | Beside | None]:
        """Return the state after these changes, for how many ms it is kept, and what is written beside it."""
        match changes[0].record:
            case Task() | TaskEvent():
                task = _folded_task(stored, changes)
                return task, _ms(self._settings.outcome_ttl), ListedTask.of(task)
            case DeadLetter():
                letter, listed = _folded_letter(stored, changes)
                return letter, min(letter.at + KEPT_MS - now_ms(), KEPT_MS), listed
            case _:
                timer, more = _folded_timer(stored, changes)
                # A schedule that is still to fire is kept however long that takes.
                return timer, None if timer.active else _ms(SCHEDULE_TTL), more

    async def _read(self, names: Sequence[str]) -> list[tuple[str, bytes | None]]:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(key(self._settings, name), ["v", "s"])
                rows: list[Any] = await pipe.execute()
        except RedisError as error:
            raise StoreUnavailableError from error
        return [((version or b"").decode(), stored) for version, stored in rows]

    async def _write(self, writes: Sequence[_Write]) -> list[Any]:
        if not writes:
            return []
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for write in writes:
                    keys: list[str] = [write.name]
                    more: list[str | int | bytes] = []
                    script = _WRITE
                    if isinstance(write.beside, Beside):
                        script, more = WRITE_TIMER, write.beside.arguments()
                        keys += write.beside.names()
                    elif isinstance(write.beside, ListedTask):
                        script = WRITE_TASK
                        more = write.beside.arguments(now_ms() - _ms(self._settings.outcome_ttl))
                        keys += write.beside.names()
                    elif write.beside is not None:
                        script, more = WRITE_LETTER, write.beside.arguments(now_ms())
                        keys += write.beside.names()
                    after = int(write.version or 0) + 1
                    ttl = 0 if write.ttl is None else max(1, write.ttl)
                    names = [key(self._settings, name) for name in keys]
                    pipe.eval(script, len(names), *names, write.version, after, write.state, ttl, *more)
                return list(await pipe.execute())
        except RedisError as error:
            raise StoreUnavailableError from error


def _folded_task(stored: bytes | None, changes: Sequence[Change]) -> TaskState:
    state = _decode(stored, TaskState)
    for change in changes:
        if isinstance(change.record, Task | TaskEvent):
            state = fold(state, change.record, change.place)
    return _some(state)


def _folded_timer(stored: bytes | None, changes: Sequence[Change]) -> tuple[TimerState, Beside]:
    before = state = _decode(stored, TimerState)
    fires = []
    for change in changes:
        if change.record is None or isinstance(change.record, Timer | Fire):
            state = fold_timer(state, change.of, change.record, change.place)
        if isinstance(change.record, Fire):
            fires.append(Fired(change.place.offset, change.record))
    state = _some(state)
    return state, beside(before, state, fires)


def _folded_letter(stored: bytes | None, changes: Sequence[Change]) -> tuple[LetterState, Listed | None]:
    state = _decode(stored, LetterState)
    records = {}
    for change in changes:
        if isinstance(change.record, DeadLetter):
            state = fold_letter(state, change.of, change.record, change.place)
            records[change.place] = change.record
    state = _some(state)
    letter = state.letter
    if letter is None or letter.place not in records:
        return state, None  # its record comes later, or was written before
    return state, Listed(state.id, letter.owner, letter.at, codec.encode(records[letter.place]))


def _some(state: S | None) -> S:
    if state is None:
        raise ValueError("nothing was to be folded")
    return state


def _decode(stored: bytes | None, state: type[S]) -> S | None:
    return None if stored is None else msgspec.msgpack.decode(stored, type=state)


def _ms(ttl: timedelta) -> int:
    return int(ttl.total_seconds() * 1000)
