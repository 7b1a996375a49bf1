"""The core of the live protocols: who is told what, in which order, and what waits for them. Does no I/O.

A subscriber (one connection) watches tasks, or all of an owner. Each watched task is one `Stream`, shared by all who
watch it. What began before it was watched is read from the log up to where the live tail stands (`CatchUp`), and its
live records wait meanwhile: so the two join without hole or repeat.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from connectors import frames
from connectors.errors import TooSlowError
from connectors.stream import Stream
from schemas.records import TaskEvent, TokenDelta
from schemas.topics import INFERENCE_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from connectors.frames import Packed, ToClient
    from connectors.log import Logged, Positions
    from schemas.errors import BarnabasError

_log = structlog.get_logger()

REMEMBERED_ENDS = 10_000
"""Tasks whose end is remembered, so that one who watches all is not told twice."""


class Subscriber:
    """A connection's side: what waits to be sent to it, within a bound of bytes."""

    def __init__(self, owners: frozenset[str], limit: int, wake: Callable[[], None]) -> None:
        self.owners = owners
        self.tasks: set[str] = set()
        self.attached: set[str] = set()
        """Tasks that are to end with the connection."""
        self.all = False
        self.lost = False
        """Whether it was too slow, and is to be dropped."""
        self._limit = limit
        self._wake = wake
        self._waiting: deque[Packed] = deque()
        self._size = 0

    def tell(self, packed: Packed) -> None:
        """Put a frame behind what waits; over the bound all is dropped, and the one frame left says so."""
        if self.lost:
            return
        self._size += len(packed.data)
        if self._size > self._limit:
            self.lost = True
            self._waiting.clear()
            packed = frames.pack(frames.error(TooSlowError()))
        self._waiting.append(packed)
        self._wake()

    def next(self) -> Packed | None:
        """Return the frame that is to be sent next."""
        if not self._waiting:
            return None
        packed = self._waiting.popleft()
        self._size -= len(packed.data)
        return packed


@dataclass(frozen=True, slots=True, eq=False)
class CatchUp:
    """What is to be read from the log before a stream can go on live.

    Attributes:
        task: the task's id.
        partition: where its tokens and events lie.
        until: the live tail's positions in them: the first offsets that are not to be read.
    """

    task: str
    partition: int
    until: Positions


@dataclass(slots=True, eq=False)
class _Watched:
    stream: Stream
    partition: int
    watchers: set[Subscriber] = field(default_factory=set)
    catching: CatchUp | None = None
    pending: list[Logged] = field(default_factory=list)
    tokens_end: int | None = None


class Sessions:
    """All subscribers of an edge, and the streams that they watch."""

    def __init__(self, results: str, tokens: str, positions: Positions) -> None:
        """Begin.

        Args:
            results: name of the topic of events, with the prefix.
            tokens: name of the topic of tokens, with the prefix.
            positions: the first offsets that `feed` will be given.
        """
        self._results = results
        self._tokens = tokens
        self._positions = dict(positions)
        self._watched: dict[str, _Watched] = {}
        self._by_owner: dict[str, set[Subscriber]] = {}
        self._waiting: set[str] = set()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._asked: list[CatchUp] = []

    def watch(self, subscriber: Subscriber, task: str) -> bool:
        """Let a subscriber hear a task from its beginning; False if nobody watches it, so that it is `reserve`d first."""
        watched = self._watched.get(task)
        if watched is None:
            return False
        subscriber.tasks.add(task)
        self._join(subscriber, watched)
        return True

    def reserve(self, task: str, partition: int) -> CatchUp | None:
        """Keep a task's live records from now on until `caught_up`; None if that is being done already."""
        if task in self._watched:
            return None
        until = {(topic, partition): self._positions[topic, partition] for topic in (self._results, self._tokens)}
        catch_up = CatchUp(task, partition, until)
        self._watched[task] = _Watched(Stream(task), partition, catching=catch_up)
        return catch_up

    def caught_up(self, catch_up: CatchUp, records: Iterable[Logged], tokens_end: int | None = None) -> list[CatchUp]:
        """Go on live with a stream.

        Args:
            catch_up: what `reserve` or `feed` asked for.
            records: the task's records before it; none for a task that is only now submitted.
            tokens_end: where the partition of tokens ended after these were read: an end among them waits for no more.

        Returns:
            What is to be read of the step that follows it, where it is over and one does.
        """
        watched = self._watched.get(catch_up.task)
        if watched is None or watched.catching is not catch_up:
            return []
        watched.catching, pending = None, watched.pending
        watched.pending = []
        for logged in records:
            with _alone(logged):
                watched.stream.take(logged)
        if watched.stream.waits:
            watched.tokens_end = tokens_end
        so_far = [frames.pack(frame) for frame in watched.stream.so_far()]
        for subscriber in watched.watchers:
            for packed in so_far:
                subscriber.tell(packed)
        for logged in pending:
            with _alone(logged):
                self._take(watched, logged, live=False)
        self._settle(watched)
        return self._to_be_read()

    def abandon(self, catch_up: CatchUp, problem: BarnabasError) -> None:
        """Give a stream up that could not be caught up with, and tell those who wait for it."""
        watched = self._watched.get(catch_up.task)
        if watched is None or watched.catching is not catch_up:
            return
        for subscriber in watched.watchers:
            subscriber.tell(frames.pack(frames.error(problem, task=catch_up.task)))
        self._forget(watched)

    def unwatch(self, subscriber: Subscriber, task: str) -> None:
        """End a subscription to a task; it is attached no longer."""
        subscriber.tasks.discard(task)
        subscriber.attached.discard(task)
        if (watched := self._watched.get(task)) and not subscriber.all:
            self._leave(subscriber, watched)

    def watch_all(self, subscriber: Subscriber) -> None:
        """Let a subscriber hear all tasks of its owners of which something happens from now on."""
        subscriber.all = True
        for owner in subscriber.owners:
            self._by_owner.setdefault(owner, set()).add(subscriber)

    def unwatch_all(self, subscriber: Subscriber) -> None:
        """End a subscription to all; those to single tasks stay."""
        subscriber.all = False
        for owner in subscriber.owners & self._by_owner.keys():
            self._by_owner[owner].discard(subscriber)
            if not self._by_owner[owner]:
                del self._by_owner[owner]
        for watched in [w for w in self._watched.values() if subscriber in w.watchers]:
            if watched.stream.task not in subscriber.tasks:
                self._leave(subscriber, watched)

    def close(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        subscriber.tasks.clear()
        self.unwatch_all(subscriber)

    def feed(self, records: Iterable[Logged]) -> list[CatchUp]:
        """Take what the live tail read, in log order.

        Returns:
            What is to be read: of answers that began before those who watch all heard of them, and of steps of chains.
        """
        for logged in records:
            place = logged.topic, logged.partition
            if logged.offset < self._positions[place]:
                continue  # the tail went back after the broker did
            self._positions[place] = logged.offset + 1
            record = logged.record
            with _alone(logged):
                if isinstance(record, TaskEvent):
                    self._event(record, logged)
                elif isinstance(record, TokenDelta) and (watched := self._watched.get(record.task_id)):
                    self._take(watched, logged)
        for task in list(self._waiting):
            self._settle(self._watched[task])
        return self._to_be_read()

    def _to_be_read(self) -> list[CatchUp]:
        asked, self._asked = self._asked, []
        return asked

    def _event(self, event: TaskEvent, logged: Logged) -> None:
        for_all = self._by_owner.get(event.owner, ())
        watched = self._watched.get(event.task_id)
        if for_all and event.task_id not in self._ended:
            streams = event.kind.startswith(INFERENCE_KINDS) and not event.status.terminal
            if watched is None and streams and (catch_up := self.reserve(event.task_id, logged.partition)):
                self._asked.append(catch_up)
                # This very event is read again by the catch-up or waits behind it, not both.
                watched = self._watched[event.task_id]
                catch_up.until[self._results, logged.partition] = logged.offset
            if watched is None:
                packed = frames.pack(frames.event(event, logged.topic, logged.partition, logged.offset))
                for subscriber in for_all:
                    subscriber.tell(packed)
            else:
                for subscriber in set(for_all) - watched.watchers:
                    self._join(subscriber, watched)
        if event.status.terminal:
            self._ended[event.task_id] = None
            if len(self._ended) > REMEMBERED_ENDS:
                self._ended.popitem(last=False)
        if watched is not None:
            self._take(watched, logged)
            self._settle(watched)

    def _take(self, watched: _Watched, logged: Logged, *, live: bool = True) -> None:
        if watched.catching is not None:
            watched.pending.append(logged)
            return
        for frame in watched.stream.take(logged):
            self._tell(watched, frame)
        if watched.stream.over:
            # The records of the step that follows come after this very event; else some may have gone by already.
            self._follow(watched, live=live and isinstance(logged.record, TaskEvent))

    def _settle(self, watched: _Watched) -> None:
        """Tell an end that waits for tokens which can't come any more, and let go of what is over."""
        if watched.stream.task not in self._watched:
            return
        if watched.catching is None and watched.stream.waits and watched.tokens_end is not None:
            if self._positions[self._tokens, watched.partition] < watched.tokens_end:
                self._waiting.add(watched.stream.task)
                return
            for frame in watched.stream.give_up():
                self._tell(watched, frame)
        if watched.stream.over:
            self._follow(watched, live=False)

    def _follow(self, watched: _Watched, *, live: bool) -> None:
        """Let go of a stream that is over; those who watched it watch the next step of its chain.

        Args:
            watched: what is over.
            live: whether none of the step's records can have gone by; else they are read from the log.
        """
        following = watched.stream.next_id
        watchers = [one for one in watched.watchers if watched.stream.task in one.tasks]
        attached = [one for one in watchers if watched.stream.task in one.attached]
        self._forget(watched)
        for subscriber in watchers:
            subscriber.attached.discard(watched.stream.task)
        if following is None or not watchers:
            return
        catch_up = self.reserve(following, watched.partition)
        for subscriber in watchers:
            self.watch(subscriber, following)
        for subscriber in attached:
            subscriber.attached.add(following)
        if catch_up is not None and live:
            self.caught_up(catch_up, ())
        elif catch_up is not None:
            self._asked.append(catch_up)

    def _tell(self, watched: _Watched, frame: ToClient) -> None:
        packed = frames.pack(frame)
        for subscriber in watched.watchers:
            subscriber.tell(packed)

    def _join(self, subscriber: Subscriber, watched: _Watched) -> None:
        if subscriber in watched.watchers:
            return
        watched.watchers.add(subscriber)
        if watched.catching is None:
            for frame in watched.stream.so_far():
                subscriber.tell(frames.pack(frame))

    def _leave(self, subscriber: Subscriber, watched: _Watched) -> None:
        watched.watchers.discard(subscriber)
        if not watched.watchers:
            self._forget(watched)

    def _forget(self, watched: _Watched) -> None:
        task = watched.stream.task
        self._watched.pop(task, None)
        self._waiting.discard(task)
        for subscriber in watched.watchers:
            subscriber.tasks.discard(task)


@contextmanager
def _alone(logged: Logged) -> Iterator[None]:
    """Keep what one record does wrong from the others: it is logged and passed over."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, the next record may be someone else's
        _log.exception("sessions.unheard", topic=logged.topic, partition=logged.partition, offset=logged.offset)
