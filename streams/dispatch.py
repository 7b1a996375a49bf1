"""The life of one task, from the record to the records that follow from it. Knows no Faust and no Kafka.

    has it an outcome already?      -> produce that again, run nothing
    expired?                        -> its end
    run the handler in the time that is left
    what follows? (outcome)         -> settled once (outcomes)

Nothing that a task does may leave `run` as an exception: Faust would acknowledge the event and lose the task. Only
Redis being away does, as `StoreUnavailableError`, and the caller tries the same task again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from pydantic import ValidationError

from backbone import outcome
from backbone.clock import to_datetime
from schemas.errors import BarnabasError, Problem
from schemas.records import Status
from streams.compute import Share
from streams.errors import (
    HandlerCpuError,
    HandlerDiedError,
    HandlerTimeoutError,
    PayloadError,
    ResultTooLargeError,
    UnknownKindError,
)
from streams.handlers.port import Context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pydantic import BaseModel

    from backbone.outcome import Outcome, Outgoing
    from backbone.outcomes import OutcomeStore
    from backbone.settings import Settings, TierPolicy
    from schemas.records import Attempt, Task
    from streams.compute import ComputePool
    from streams.handlers.port import Handler

_log = structlog.get_logger()


@dataclass(slots=True)
class Dispatcher:
    """Runs the tasks of one tier.

    Attributes:
        settings: of the process.
        policy: the tier's.
        handlers: by kind.
        store: decides which outcome is the one.
        compute: the processes for CPU-bound work.
        say: produces a record that tells how a task is doing; returns once it is on its way.
        worker: name of this process, for events.
        now: the time in ms since the epoch.
        jitter: uniform in [0, 1).
    """

    settings: Settings
    policy: TierPolicy
    handlers: Mapping[str, Handler[Any, Any]]
    store: OutcomeStore
    compute: ComputePool
    say: Callable[[Outgoing], Awaitable[None]]
    worker: str
    now: Callable[[], int]
    jitter: Callable[[], float]
    _running: dict[str, asyncio.Task[bytes]] = field(default_factory=dict)

    async def run(self, task: Task) -> tuple[Outgoing, ...]:
        """Return the records that follow from a stamped task, running it if that hasn't been done.

        Raises:
            StoreUnavailableError: Redis is away: run the same task again.
        """
        late = outcome.expiry(task, self.now())
        earlier, begun = await self.store.begin(task, late=late is not None)
        if earlier is not None:
            return earlier
        if late is not None and begun:
            late = outcome.expiry(task, self.now(), begun=True)
        if late is not None:
            what_follows = self._ended(task, Status.EXPIRED, error=late)
        else:
            what_follows = await self._attempt(task)
        _, records = await self.store.settle(what_follows)
        return records

    def cancel(self, task_id: str) -> bool:
        """Interrupt a task if it runs here; its outcome is in the store already."""
        running = self._running.get(task_id)
        return running is not None and running.cancel()

    async def _attempt(self, task: Task) -> Outcome:
        await self.say(self._event(task, Status.STARTED))
        # A task of its own, so that a cancellation reaches the handler and not the partition that waits for it.
        running = asyncio.create_task(self._handle(task), name=f"{task.kind} {task.id}")
        self._running[task.id] = running
        try:
            result = await running
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if this is not None and this.cancelling():
                running.cancel()
                raise  # the process drains: the task stays unacknowledged and another process runs it
            return self._ended(task, Status.CANCELLED)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is this task's failure, and only its
            return self._failed(task, error)
        finally:
            del self._running[task.id]
        return outcome.succeeded(
            task,
            result,
            tiers=self.settings.tiers,
            largest=self.settings.max_payload_bytes,
            now=self.now(),
            worker=self.worker,
        )

    async def _handle(self, task: Task) -> bytes:
        handler = self.handlers.get(task.kind)
        if handler is None:
            raise UnknownKindError(
                f"no handler serves {task.kind!r}; installed: {', '.join(sorted(self.handlers))}", field="kind"
            )
        began = self.now()
        seconds = min((task.deadline - began) / 1000, self.settings.handler_timeout.total_seconds())
        share = Share(self.compute)
        context = Context(
            task_id=task.id,
            owner=task.owner,
            now=to_datetime(began),
            deadline=to_datetime(began + int(seconds * 1000)),
            progress=lambda done, note: self.say(self._event(task, Status.PROGRESS, progress=done, note=note)),
            compute=share,
        )
        payload = parse(handler.payload, task.payload)
        try:
            async with asyncio.timeout(seconds) as limit:
                made: BaseModel = await handler.run(payload, context)
        except TimeoutError:
            if not limit.expired():
                raise  # the handler's own time-out
            # While it waited, for the net or for a worker that others kept, another try may find less to wait for.
            failure = HandlerCpuError if share.killed else HandlerTimeoutError
            raise failure(f"the handler took longer than the {seconds:.1f} s that it had") from None
        result = made.model_dump_json(by_alias=True).encode()
        if len(result) > self.settings.max_payload_bytes:
            raise ResultTooLargeError(f"{len(result)} bytes; {self.settings.max_payload_bytes} travel in a record")
        return result

    def _event(self, task: Task, status: Status, **fields: object) -> Outgoing:
        return outcome.announced(task, status, now=self.now(), worker=self.worker, **fields)

    def _ended(self, task: Task, status: Status, **fields: object) -> Outcome:
        return outcome.ended(task, status, now=self.now(), worker=self.worker, **fields)

    def _failed(self, task: Task, error: Exception) -> Outcome:
        now = self.now()
        late = outcome.expiry(task, now, begun=True)
        if late is not None:
            return self._ended(task, Status.EXPIRED, error=late)
        if not isinstance(error, BarnabasError):
            _log.error("task.crashed", task=task.id, kind=task.kind, exc_info=error)
        return outcome.failed(
            task,
            problem_of(error, task.history),
            policy=self.policy,
            now=now,
            worker=self.worker,
            jitter=self.jitter(),
        )


def parse(model: type[BaseModel], payload: bytes) -> BaseModel:
    """Return a payload as its model.

    Raises:
        PayloadError: it does not fit; `field` is the path of what doesn't, in the payload.
    """
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise PayloadError(first["msg"], field=".".join(str(part) for part in first["loc"])) from None


def problem_of(error: Exception, history: Sequence[Attempt] = ()) -> Problem:
    """Return an exception as events carry it: one that nobody foresaw may pass, so it is tried again.

    Args:
        error: what the handler raised.
        history: how earlier attempts failed. A process may die by chance once; twice, it is the payload's doing.
    """
    if isinstance(error, HandlerDiedError) and any(attempt.code == error.code for attempt in history):
        return msgspec.structs.replace(error.problem(), retryable=False)
    if isinstance(error, PayloadError):
        # A handler knows its payload; a client sees the task around it.
        field = f"payload.{error.field}" if error.field else "payload"
        return msgspec.structs.replace(error.problem(), field=field)
    if isinstance(error, BarnabasError):
        return error.problem()
    return Problem("task.crashed", f"{type(error).__name__}: {error}", retryable=True)
