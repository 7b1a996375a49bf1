"""The live side of the edge, as plugins use it: sessions joined to the log, the gateway and what is known of tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError
from backbone.kafka import name_of, partition_of
from connectors import frames, views
from connectors.errors import TaskEndedError
from connectors.frames import Accepted as AcceptedFrame
from connectors.gateway import owners_of
from connectors.sessions import Sessions, Subscriber
from schemas.errors import BarnabasError
from schemas.records import Kind, TaskEvent, TokenDelta
from schemas.topics import KINDS, RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.security.identity import Principal
    from backbone.settings import Settings
    from connectors.catch_up import CatchUpReader
    from connectors.gateway import Gateway, Submission
    from connectors.kinds import Kinds
    from connectors.log import Logged, Positions
    from connectors.sessions import CatchUp
    from connectors.state import TaskState
    from connectors.states import States
    from schemas.records import Task

_log = structlog.get_logger()


class Live:
    """Opens sessions and keeps them told."""

    def __init__(
        self,
        settings: Settings,
        positions: Positions,
        *,
        gateway: Gateway,
        kinds: Kinds,
        states: States,
        reader: CatchUpReader,
    ) -> None:
        self._settings = settings
        self._kinds_topic = name_of(settings, KINDS)
        self._sessions = Sessions(name_of(settings, RESULTS), name_of(settings, TOKENS), positions)
        self._gateway = gateway
        self._kinds = kinds
        self._states = states
        self._reader = reader
        self._work: set[asyncio.Task[None]] = set()

    def deliver(self, batch: list[Logged]) -> None:
        """Take a batch of the live tail."""
        for logged in batch:
            if logged.topic == self._kinds_topic and (logged.record is None or isinstance(logged.record, Kind)):
                self._kinds.put(logged.key, logged.record)
        heard = [logged for logged in batch if isinstance(logged.record, TaskEvent | TokenDelta)]
        for catch_up in self._sessions.feed(heard):
            self._catch_up(catch_up, None)

    def open(self, principal: Principal, wake: Callable[[], None]) -> Subscriber:
        """Begin a session; `wake` is called when something waits to be sent."""
        return Subscriber(owners_of(principal), self._settings.edge_buffer_bytes, wake)

    def close(self, subscriber: Subscriber) -> None:
        """End a session."""
        self._sessions.close(subscriber)

    async def submit(
        self,
        subscriber: Subscriber,
        principal: Principal,
        submission: Submission,
        ref: str | None,
        *,
        attached: bool = False,
    ) -> None:
        """Submit a task and subscribe to it: the receipt is told first, then what happens.

        Args:
            subscriber: the session.
            principal: whose it is.
            submission: what is submitted.
            ref: of the frame that asked for it.
            attached: whether the task is to end with the session; see `end_attached`.

        Raises:
            BarnabasError: the submit was refused.
        """
        reserved: CatchUp | None = None

        def before(task: Task) -> None:
            nonlocal reserved
            # From here on its records are kept, so that none is missed between the produce and its acknowledgement.
            reserved = self._sessions.reserve(task.id, partition_of(task.key, self._settings.partitions))

        try:
            accepted = await self._gateway.submit(principal, submission, before)
        except BaseException as error:
            if reserved is not None:
                problem = error if isinstance(error, BarnabasError) else BrokerUnavailableError()
                self._sessions.abandon(reserved, problem)
            raise
        receipt = views.receipt(accepted.task, accepted.place).model_dump_json()
        subscriber.tell(frames.pack(AcceptedFrame(ref=ref, task=frames.raw(receipt))))
        if attached:
            subscriber.attached.add(accepted.task.id)
        watched = self._sessions.watch(subscriber, accepted.task.id)
        if reserved is None:
            if not watched:  # a repeat of a task that someone else watched, and that ended meanwhile
                self._watch(subscriber, await self._gateway.find(principal, accepted.task.id))
        elif accepted.repeated:
            self._catch_up(reserved, accepted.task.created_at)
        else:
            self._sessions.caught_up(reserved, ())

    async def end_attached(self, subscriber: Subscriber, principal: Principal) -> None:
        """Cancel what was to end with a session that is closed; what can't be cancelled now ends by its deadline."""
        for task_id in tuple(subscriber.attached):
            try:
                await self._gateway.cancel(principal, task_id)
            except TaskEndedError:
                continue
            except BarnabasError as error:
                _log.warning("live.not_cancelled", task=task_id, code=error.code)

    async def subscribe(self, subscriber: Subscriber, principal: Principal, task_id: str, ref: str | None) -> None:
        """Let a session hear a task of the caller's from its beginning; that it does is told first.

        Raises:
            TaskUnknownError: there is none.
            StoreUnavailableError: Redis did not answer.
        """
        state = await self._gateway.find(principal, task_id)
        subscriber.tell(frames.pack(frames.Subscribed(ref=ref, task=task_id)))
        self._watch(subscriber, state)

    def _watch(self, subscriber: Subscriber, state: TaskState) -> None:
        catch_up = self._sessions.reserve(state.id, partition_of(state.about.key, self._settings.partitions))
        self._sessions.watch(subscriber, state.id)
        if catch_up is not None:
            self._catch_up(catch_up, state.began)

    def subscribe_all(self, subscriber: Subscriber, ref: str | None) -> None:
        """Let a session hear all of the caller's tasks from now on."""
        subscriber.tell(frames.pack(frames.Subscribed(ref=ref, all=True)))
        self._sessions.watch_all(subscriber)

    def unsubscribe(self, subscriber: Subscriber, task_id: str | None) -> None:
        """End a subscription; None: the one to all."""
        if task_id is None:
            self._sessions.unwatch_all(subscriber)
        else:
            self._sessions.unwatch(subscriber, task_id)

    async def stop(self) -> None:
        """Give up what is still being caught up with."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._reader.stop()

    def _catch_up(self, catch_up: CatchUp, since: int | None) -> None:
        task = asyncio.create_task(self._read(catch_up, since), name=f"catch-up {catch_up.task}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _read(self, catch_up: CatchUp, since: int | None) -> None:
        try:
            if since is None:
                state = await self._states.task(catch_up.task)
                since = state.began if state else now_ms()
            records, tokens_end = await self._reader.read(catch_up, since)
        except BarnabasError as error:
            _log.warning("live.not_caught_up", task=catch_up.task, code=error.code)
            self._sessions.abandon(catch_up, error)
        else:
            for following in self._sessions.caught_up(catch_up, records, tokens_end):
                self._catch_up(following, since)
