"""The life of one task, from the record to the records that follow from it. Knows no Faust and no Kafka.

    has it an outcome already?      -> produce that again, run nothing
    expired?                        -> its end
    has it killed all who ran it?   -> this attempt failed
    its payload, where that is a blob
    its turn, where the tier has a rate; then expired?
    run the handler in the time that is left
    what follows? (outcome)         -> what is too large goes into blobs (offload) -> settled once (outcomes)

Nothing that a task does may leave `run` as an exception: Faust would acknowledge the event and lose the task. Only
Redis, or the blob of its payload, being away does, as `StoreUnavailableError`, and the caller tries the same task again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from backbone import outcome
from backbone.clock import to_datetime
from backbone.errors import BlobStoreError, StoreUnavailableError
from backbone.offload import offloaded, payload_of
from backbone.rate import Rate
from backbone.settings import LONGEST_TURN
from schemas.errors import BarnabasError
from schemas.records import Status
from streams.compute import Share
from streams.documents import follow, parse, write, write_rest
from streams.errors import (
    HandlerCpuError,
    HandlerDiedError,
    HandlerTimeoutError,
    PayloadAwayError,
    UnknownKindError,
)
from streams.failures import problem_of, rest_of
from streams.handlers.port import Context, Followed, Next

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from backbone.blobs import Blobs
    from backbone.outcome import Outcome, Outgoing
    from backbone.outcomes import OutcomeStore
    from backbone.rate import RateLimiter
    from backbone.settings import Settings, TierPolicy
    from schemas.records import Task
    from streams.compute import ComputePool
    from streams.handlers.port import Handler

_log = structlog.get_logger()

RETRY_SECONDS = 0.5
"""Pause between tries while Redis or Kafka is away: the partition waits and nothing is lost."""
PATIENCE = timedelta(seconds=5)
"""How long an attempt may take beyond its turn and its handler's time: to say that it began, and for a handler that was
cancelled to close what it opened. After that its task is given up."""
MOST_DEATHS = 3
"""How many processes begin an attempt; if none of them came to an outcome, it kills its process and has failed."""


@dataclass(slots=True)
class Dispatcher:
    """Runs the tasks of one tier.

    Attributes:
        settings: of the process.
        policy: the tier's.
        handlers: by kind.
        store: decides which outcome is the one.
        limiter: holds the tier's rate, if it has one.
        compute: the processes for CPU-bound work.
        blobs: what is too large for a record.
        say: produces a record that tells how a task is doing, as well as may be; returns once it is on its way.
        worker: name of this process, for events.
        now: the time in ms since the epoch.
        jitter: uniform in [0, 1).
    """

    settings: Settings
    policy: TierPolicy
    handlers: Mapping[str, Handler[Any, Any]]
    store: OutcomeStore
    limiter: RateLimiter
    compute: ComputePool
    blobs: Blobs
    say: Callable[[Outgoing], Awaitable[None]]
    worker: str
    now: Callable[[], int]
    jitter: Callable[[], float]
    _running: dict[str, asyncio.Task[Outcome]] = field(default_factory=dict)

    async def run(self, task: Task) -> tuple[Outgoing, ...]:
        """Return the records that follow from a stamped task, running it if that hasn't been done.

        Raises:
            StoreUnavailableError: Redis is away, or the blob store that has its payload: run the same task again.
        """
        late = outcome.expiry(task, self.now())
        follows, begun, deaths = await self.store.begin(task, late=late is not None)
        if follows is not None:
            return follows
        if late is not None and begun:
            late = outcome.expiry(task, self.now(), begun=True)
        if late is not None:
            return await self._settle(self._ended(task, Status.EXPIRED, error=late))
        if deaths >= MOST_DEATHS:
            _log.error("task.kills", task=task.id, kind=task.kind, attempt=task.attempt, deaths=deaths)
            died = HandlerDiedError(f"{deaths} processes began it, and each ended before it did")
            return await self._settle(self._failed(task, died))
        return await self._settle(await self._offload(task, await self._attempt(task, begun=begun)))

    def cancel(self, task_id: str) -> bool:
        """Interrupt a task if it runs here; its outcome is in the store already."""
        running = self._running.get(task_id)
        return running is not None and running.cancel()

    async def _settle(self, what_follows: Outcome) -> tuple[Outgoing, ...]:
        """Settle an outcome, however long Redis is away: what was done for it is not done again."""
        while True:
            try:
                _, records = await self.store.settle(what_follows)
            except StoreUnavailableError:
                _log.warning("task.unsettled", slot=what_follows.slot)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return records

    async def _offload(self, task: Task, what_follows: Outcome) -> Outcome:
        """Put what is too large into blobs, as long as it takes: what was done is not done again before its deadline."""
        while True:
            try:
                return await offloaded(what_follows, self.blobs, self.settings.max_payload_bytes)
            except BlobStoreError as error:
                late = outcome.expiry(task, self.now(), begun=True)
                if late is not None:
                    return self._ended(task, Status.EXPIRED, error=late)
                _log.warning("task.not_offloaded", task=task.id, kind=task.kind, reason=error.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def _attempt(self, task: Task, *, begun: bool) -> Outcome:
        # A task of its own, so that a cancellation reaches the handler and not the partition that waits for it.
        running = asyncio.create_task(self._handle(task, begun=begun), name=f"{task.kind} {task.id}")
        self._running[task.id] = running
        longest = self.settings.handler_timeout + PATIENCE
        if self.policy.rate is not None:
            longest += LONGEST_TURN
        try:
            await asyncio.wait({running}, timeout=longest.total_seconds())
        except asyncio.CancelledError:
            running.cancel()
            raise  # the process drains: the task stays unacknowledged and another process runs it
        finally:
            self._running.pop(task.id, None)  # the same id may lie in another partition, too
        if not running.done():
            running.cancel()
            _log.error("task.unstoppable", task=task.id, kind=task.kind)
            return self._failed(task, HandlerTimeoutError("the handler goes on although it was cancelled"))
        if running.cancelled():
            if running.cancelling():
                return self._ended(task, Status.CANCELLED)
            return self._failed(task, asyncio.CancelledError("the handler's own, for nobody cancelled the task"))
        # Whatever a handler raises is this task's failure, and only its.
        error = running.exception()
        if isinstance(error, PayloadAwayError):
            raise error
        return running.result() if error is None else self._failed(task, error)

    async def _handle(self, task: Task, *, begun: bool) -> Outcome:
        """Run the handler and return what follows from what it returned."""
        arrived = self.now()
        payload = await self._payload(task)  # before its turn: a task that waits for the store takes none
        reading = self.now() - arrived
        if self.policy.rate is not None:
            await self._turn(task, self.policy.rate)
            late = outcome.expiry(task, self.now(), begun=begun)
            if late is not None:
                return self._ended(task, Status.EXPIRED, error=late)
        await self.say(self._event(task, Status.STARTED))
        handler = self.handlers.get(task.kind)
        if handler is None:
            raise UnknownKindError(
                f"no handler serves {task.kind!r}; installed: {', '.join(sorted(self.handlers))}", field="kind"
            )
        made = await self._run(handler, task, payload, reading)
        if isinstance(made, Next):
            return outcome.continued(
                task,
                write_rest(made, handler.payload, self.settings.max_upload_bytes),
                policy=self.policy,
                delay=made.delay // timedelta(milliseconds=1),
                now=self.now(),
                worker=self.worker,
            )
        if isinstance(made, Followed):
            task = follow(task, made.then, self.settings.max_payload_bytes // 2)
            made = made.result
        return outcome.succeeded(
            task,
            write(made, handler.result, self.settings.max_upload_bytes),
            tiers=self.settings.tiers,
            largest=self.settings.max_upload_bytes,
            now=self.now(),
            worker=self.worker,
        )

    async def _turn(self, task: Task, rate: float) -> None:
        """Wait until the tier's rate lets one more begin; a second's worth may begin at once."""
        longest = LONGEST_TURN.total_seconds()
        wait = await self.limiter.take(f"tier:{task.tier}", Rate(rate, max(1, int(rate))), longest=longest)
        this = asyncio.current_task()
        if this is not None and this.cancelling():
            # redis-py sends by `asyncio.wait_for`, which before Python 3.12 may lose a cancellation.
            raise asyncio.CancelledError
        # Turns are lost with whoever died before its own: what is asked to wait longer for that goes on all the same.
        await asyncio.sleep(min(wait, longest))

    async def _payload(self, task: Task) -> bytes:
        try:
            return await payload_of(task, self.blobs)
        except BlobStoreError as error:
            raise PayloadAwayError(error.message) from error

    async def _run(
        self, handler: Handler[Any, Any], task: Task, document: bytes, reading: int
    ) -> BaseModel | Next[Any] | Followed[Any]:
        """Run the handler in the time that is left: reading the payload has used `reading` ms of it."""
        began = self.now()
        until = min(task.deadline, began - reading + self.settings.handler_timeout // timedelta(milliseconds=1))
        seconds = (until - began) / 1000
        share = Share(self.compute)
        context = Context(
            task_id=task.id,
            owner=task.owner,
            now=to_datetime(began),
            deadline=to_datetime(began + int(seconds * 1000)),
            progress=lambda done, note: self.say(self._event(task, Status.PROGRESS, progress=done, note=note)),
            compute=share,
            blobs=self.blobs.of_owner(task.owner),
            chained=bool(task.then),
        )
        payload = parse(handler.payload, document)
        try:
            async with asyncio.timeout(seconds) as limit:
                made: BaseModel | Next[Any] | Followed[Any] = await handler.run(payload, context)
        except TimeoutError:
            if not limit.expired():
                raise  # the handler's own time-out
            # While it waited, for the net or for a worker that others kept, another try may find less to wait for.
            failure = HandlerCpuError if share.killed else HandlerTimeoutError
            raise failure(f"the handler took longer than the {seconds:.1f} s that it had") from None
        return made

    def _event(self, task: Task, status: Status, **fields: object) -> Outgoing:
        return outcome.announced(task, status, now=self.now(), worker=self.worker, **fields)

    def _ended(self, task: Task, status: Status, **fields: object) -> Outcome:
        return outcome.ended(task, status, now=self.now(), worker=self.worker, **fields)

    def _failed(self, task: Task, error: BaseException) -> Outcome:
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
            after=rest_of(error),
        )
