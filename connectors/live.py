"""The live side of the edge, as plugins use it: sessions joined to the log, the gateway and what is known of tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError
from backbone.kafka import name_of, partition_of
from connectors import cursor as cursors
from connectors import frames, views
from connectors.catch_up import Reading
from connectors.cursor import FeedCursor, TaskCursor
from connectors.errors import CursorError, TaskEndedError
from connectors.frames import Accepted as AcceptedFrame
from connectors.gateway import owners_of
from connectors.packed import View, pack
from connectors.subscriber import Subscriber
from schemas.errors import BarnabasError
from schemas.records import Kind, TaskEvent, TokenDelta
from schemas.topics import KINDS, RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from backbone.security.identity import Principal
    from backbone.settings import Settings
    from connectors.catch_up import CatchUpReader
    from connectors.cursor import Position
    from connectors.gateway import Gateway, Submission
    from connectors.kinds import Kinds
    from connectors.log import Logged
    from connectors.partitions import Partitions
    from connectors.sessions import CatchUp, FeedCatchUp, Sessions
    from connectors.state import TaskState
    from connectors.states import States
    from schemas.records import Task

_log = structlog.get_logger()

ABREAST_SECONDS = 5.0
"""How long one who comes from another edge waits until this one has read as far as that."""
LOOK_SECONDS = 0.01
PIECE = 5_000
"""Offsets of a partition that are read at once for one who comes back to a feed."""
PORTION = 100
"""Events that are told at once of what was read."""


class Live:
    """Opens sessions and keeps them told."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        partitions: Partitions,
        *,
        gateway: Gateway,
        kinds: Kinds,
        states: States,
        reader: CatchUpReader,
        feed_reader: CatchUpReader,
    ) -> None:
        """Join what there is.

        Args:
            settings: the edge's.
            sessions: who is told what.
            partitions: what is read of the log.
            gateway: takes what is submitted.
            kinds: learns what is announced.
            states: what is known of tasks.
            reader: reads what a task had before.
            feed_reader: the same of feeds, which may take longer: no single task waits for it.
        """
        self._settings = settings
        self._kinds_topic, self._results, self._tokens = (
            name_of(settings, topic) for topic in (KINDS, RESULTS, TOKENS)
        )
        self._sessions = sessions
        self._partitions = partitions
        self._gateway = gateway
        self._kinds = kinds
        self._states = states
        self._reader = reader
        self._feed_reader = feed_reader
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

        async def before(task: Task) -> None:
            nonlocal reserved
            partition = self._partition(task.key)
            await self._partitions.need({partition})
            # From here on its records are kept, so that none is missed between the produce and its acknowledgement.
            reserved = self._sessions.reserve(task.id, partition)

        try:
            accepted = await self._gateway.submit(principal, submission, before)
        except BaseException as error:
            if reserved is not None:
                problem = error if isinstance(error, BarnabasError) else BrokerUnavailableError()
                self._sessions.abandon(reserved, problem)
            raise
        task = accepted.task
        receipt = views.receipt(task, accepted.place).model_dump_json()
        start = TaskCursor(self._sessions.log, task.id, self._partition(task.key))
        subscriber.tell(pack(AcceptedFrame(ref=ref, task=frames.raw(receipt), cursor=cursors.write(start))))
        if attached:
            subscriber.attached.add(task.id)
        watched = self._sessions.watch(subscriber, task.id)
        if reserved is None:
            if not watched:  # a repeat of a task that someone else watched, and that ended meanwhile
                await self._watch(subscriber, await self._gateway.find(principal, task.id), start)
        elif accepted.repeated:
            self._catch_up(reserved, task.created_at)
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

    async def subscribe(
        self, subscriber: Subscriber, principal: Principal, task_id: str, ref: str | None, cursor: str | None = None
    ) -> None:
        """Let a session hear a task of the caller's from its beginning, or the rest of it; that it does is told first.

        Raises:
            CursorError: the cursor is none of this task and the steps that follow it.
            TaskUnknownError: there is none.
            StoreUnavailableError: Redis did not answer.
            BrokerUnavailableError: Kafka did not answer.
        """
        state = await self._gateway.find(principal, task_id)
        partition = self._partition(state.about.key)
        before = TaskCursor(self._sessions.log, task_id, partition)
        if cursor is not None:
            before = await self._task_cursor(principal, state, cursor)
            if before.task != task_id:
                state = await self._gateway.find(principal, before.task)
        await self._partitions.need({partition})
        await self._abreast({partition: before.position})
        subscribed = frames.Subscribed(ref=ref, task=task_id, cursor=cursors.write(before))
        subscriber.tell(pack(subscribed))
        await self._watch(subscriber, state, before)

    async def _task_cursor(self, principal: Principal, state: TaskState, text: str) -> TaskCursor:
        cursor = cursors.read(text)
        partition = self._partition(state.about.key)
        if not isinstance(cursor, TaskCursor) or cursor.log != self._sessions.log or cursor.partition != partition:
            raise CursorError("is of another subscription: leave it out to begin anew", field="cursor")
        if cursor.task != state.id:
            step = await self._gateway.find(principal, cursor.task)
            if step.about.root_id != state.about.root_id or step.about.step < state.about.step:
                raise CursorError("is of another task: leave it out to begin anew", field="cursor")
        return cursor

    async def _watch(self, subscriber: Subscriber, state: TaskState, before: TaskCursor) -> None:
        partition = self._partition(state.about.key)
        await self._partitions.need({partition})
        catch_up = self._sessions.reserve(state.id, partition, state.about.root_id)
        self._sessions.watch(subscriber, state.id, before)
        if catch_up is not None:
            self._catch_up(catch_up, state.began)

    async def follow(
        self, subscriber: Subscriber, principal: Principal, view: View, ref: str | None, cursor: str | None = None
    ) -> None:
        """Let a session hear all of the caller's tasks, or a conversation's: what runs, what comes, or all since a cursor.

        Raises:
            CursorError: the cursor is none of this view.
            StoreUnavailableError: Redis did not answer.
            BrokerUnavailableError: Kafka did not answer.
        """
        numbers = range(self._settings.partitions) if view.all else [self._partition(view.conversation or "")]
        partitions = frozenset(numbers)
        before = None if cursor is None else self._feed_cursor(cursor, partitions)
        await self._partitions.need(partitions)
        if before is not None:
            await self._abreast(before.ends)
        catch_up = self._sessions.follow(subscriber, view, partitions, before)
        start = cursors.write(catch_up.cursor)
        subscriber.tell(pack(frames.Subscribed(ref=ref, all=view.all, conversation=view.conversation, cursor=start)))
        self._start(self._come_up(catch_up, principal), "feed")

    def _feed_cursor(self, text: str, partitions: frozenset[int]) -> FeedCursor:
        cursor = cursors.read(text)
        if (
            not isinstance(cursor, FeedCursor)
            or cursor.log != self._sessions.log
            or cursor.ends.keys() != partitions
            or not {lag.partition for lag in cursor.behind.values()} <= partitions
        ):
            raise CursorError("is of another subscription: leave it out to begin anew", field="cursor")
        return cursor

    def unsubscribe(self, subscriber: Subscriber, task_id: str | None, view: View | None = None) -> None:
        """End a subscription to a task, or to a view."""
        if task_id is not None:
            self._sessions.unwatch(subscriber, task_id)
        elif view is not None:
            self._sessions.unfollow(subscriber, view)

    async def stop(self) -> None:
        """Give up what is still being caught up with."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._reader.stop()
        await self._feed_reader.stop()

    def _partition(self, key: str) -> int:
        return partition_of(key, self._settings.partitions)

    async def _abreast(self, ends: dict[int, Position]) -> None:
        """Wait until the live tail has come as far as another edge's had."""
        until = asyncio.get_running_loop().time() + ABREAST_SECONDS
        while not all(self._has_come_to(number, position) for number, position in ends.items()):
            if asyncio.get_running_loop().time() > until:
                raise CursorError("lies behind the end of the log: leave it out to begin anew", field="cursor")
            await asyncio.sleep(LOOK_SECONDS)

    def _has_come_to(self, number: int, position: Position) -> bool:
        here = self._sessions.position(number)
        return here.events >= position.events and here.tokens >= position.tokens

    def _catch_up(self, catch_up: CatchUp, since: int | None) -> None:
        self._start(self._read(catch_up, since), catch_up.task)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"catch-up {name}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _read(self, catch_up: CatchUp, since: int | None) -> None:
        try:
            if since is None:
                state = await self._states.task(catch_up.task)
                since = state.began if state else now_ms()
            found = await self._reader.read(Reading(until=catch_up.until, since=since, task=catch_up.task))
        except BarnabasError as error:
            _log.warning("live.not_caught_up", task=catch_up.task, code=error.code)
            self._sessions.abandon(catch_up, error)
        else:
            place = self._tokens, catch_up.partition
            for following in self._sessions.caught_up(
                catch_up, found.records, found.ends[place], torn=found.begins[place]
            ):
                self._catch_up(following, since)

    async def _come_up(self, catch_up: FeedCatchUp, principal: Principal) -> None:
        try:
            await self._tell_meanwhile(catch_up, principal)
        except BarnabasError as error:
            _log.warning("live.feed_not_caught_up", code=error.code)
            self._sessions.give_up(catch_up, error)
            return
        for following in self._sessions.come_up(catch_up):
            self._catch_up(following, None)

    async def _running(self, principal: Principal, view: View) -> dict[str, int]:
        """Return the caller's tasks that stream and are not over, as far as is known, with their partitions."""
        found = {}
        for state in await self._states.running(owners_of(principal)):
            if view.all or state.about.conversation == view.conversation:
                found[state.id] = self._partition(state.about.key)
        return found

    async def _tell_meanwhile(self, catch_up: FeedCatchUp, principal: Principal) -> None:
        """Tell the events between a feed's cursor and the live tail, no faster than they are taken."""
        told = {} if catch_up.fresh else {(self._results, n): at.events for n, at in catch_up.cursor.ends.items()}
        until = {(self._results, number): at.events for number, at in catch_up.until.items()}
        owners, view = owners_of(principal), catch_up.view

        def wanted(event: TaskEvent) -> bool:
            return event.owner in owners and (view.all or event.conversation == view.conversation)

        self._sessions.begin(catch_up, await self._running(principal, view))
        while left := {place: offset for place, offset in told.items() if offset < until[place]}:
            end = {place: min(until[place], offset + PIECE) for place, offset in left.items()}
            found = await self._feed_reader.read(Reading(until=end, start=left, wanted=wanted))
            lost = {place[1]: found.begins[place] for place, offset in left.items() if offset < found.begins[place]}
            if lost:
                self._sessions.forgotten(catch_up, lost, min(found.first.values(), default=now_ms()))
            told |= {place: max(offset, found.begins[place]) for place, offset in end.items()}
            events = await self._first_ends(found.records)
            for begin in range(0, len(events), PORTION):
                self._sessions.meanwhile(catch_up, events[begin : begin + PORTION])
                while not (catch_up.subscriber.has_room or catch_up.subscriber.lost):  # noqa: ASYNC110 - it is rarely so
                    await asyncio.sleep(LOOK_SECONDS)

    async def _first_ends(self, events: list[Logged]) -> list[Logged]:
        """Leave out ends that repeat an earlier one."""
        ended = [
            one.record.task_id for one in events if isinstance(one.record, TaskEvent) and one.record.status.terminal
        ]
        states = dict(zip(ended, await self._states.tasks(ended), strict=True))

        def repeats(logged: Logged) -> bool:
            event = logged.record
            if not isinstance(event, TaskEvent) or not event.status.terminal:
                return False
            state = states[event.task_id]
            return state is not None and state.end is not None and state.end.offset < logged.offset

        return [logged for logged in events if not repeats(logged)]
