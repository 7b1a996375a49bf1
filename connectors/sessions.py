"""The core of the live protocols: who is told what, in which order, and with which cursor. Does no I/O.

A subscriber (one connection) watches tasks, or follows a feed: all of an owner's, or those of a conversation. Each task
that streams is one `Stream`, shared by all who hear of it. What began before anybody heard of it is read from the log up to
where the live tail stands (`CatchUp`), and its live records wait meanwhile: so the two join without hole or repeat. Of
the log's partitions only those are fed that someone needs.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import msgspec
import structlog

from connectors import frames
from connectors.cursor import BEGINNING, FeedCursor, Lag, Position, TaskCursor
from connectors.packed import BY_TASK, Line, View, pack, pack_line
from connectors.stream import Stream, Told
from connectors.views import iso
from schemas.records import DeltaType, TaskEvent, TokenDelta
from schemas.topics import INFERENCE_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from connectors.log import Logged, Positions
    from connectors.packed import Packed
    from connectors.subscriber import Subscriber
    from schemas.errors import BarnabasError

_log = structlog.get_logger()

REMEMBERED = 10_000
"""Tasks that are remembered for something."""


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
class FeedCatchUp:
    """What is to be read from the log before one who comes back to a feed can go on live.

    Attributes:
        subscriber: who.
        view: to which.
        cursor: how far they were told, by now.
        start: the same when they came.
        until: the live tail's positions in all partitions of the feed.
        streaming: tasks that others were being told of when they came, with their partitions.
        fresh: whether they come for the first time: they are told what runs from its beginning.
    """

    subscriber: Subscriber
    view: View
    cursor: FeedCursor
    start: FeedCursor
    until: dict[int, Position]
    streaming: dict[str, int]
    fresh: bool


class _What(NamedTuple):
    """What is told to those who follow a feed: of a task, how far it lags then, if it does."""

    told: Told
    task: str
    partition: int
    lag: Lag | None = None


@dataclass(slots=True, eq=False)
class _Follower:
    """One who follows a feed.

    Attributes:
        behind: tasks of which less was told to this one than to others.
        held: what waits until they have come back to where the feed stands.
    """

    subscriber: Subscriber
    catch_up: FeedCatchUp
    behind: dict[str, Lag] = field(default_factory=dict)
    held: list[Packed] | None = field(default_factory=list)
    size: int = 0

    def tell(self, one: Packed) -> None:
        if self.held is None:
            self.subscriber.tell(one)
            return
        self.held.append(one)
        self.size += len(one.data)
        if self.size > self.subscriber.limit:
            self.held.clear()
            self.subscriber.lose()


@dataclass(slots=True, eq=False)
class _Feed:
    """All tasks of some owners, or those of a conversation; `partitions` are where their records lie."""

    owners: frozenset[str]
    view: View
    partitions: frozenset[int]
    followers: dict[Subscriber, _Follower] = field(default_factory=dict)

    def hears(self, event: TaskEvent, partition: int) -> bool:
        return self.view.all or (event.conversation == self.view.conversation and partition in self.partitions)


@dataclass(slots=True, eq=False)
class _Watched:
    """A task that someone hears of by its stream.

    Attributes:
        root: the first task of its chain.
        watchers: who watches the task itself.
        feeds: who else hears of it.
        alone: those of a feed who came back and hear of it, while the others have heard it all.
        before: how far those were told who watch it again, until the stream is caught up with.
        silent: whether feeds were told nothing of it yet: to them a task begins with an event, whatever comes before.
    """

    stream: Stream
    partition: int
    root: str
    watchers: set[Subscriber] = field(default_factory=set)
    feeds: set[_Feed] = field(default_factory=set)
    alone: dict[_Follower, _Feed] = field(default_factory=dict)
    before: dict[Subscriber, TaskCursor] = field(default_factory=dict)
    catching: CatchUp | None = None
    pending: list[Logged] = field(default_factory=list)
    tokens_end: int | None = None
    silent: bool = True

    def begins(self) -> bool:
        """Whether feeds are to be told of it from now on."""
        begins = self.silent and self.stream.first_event is not None
        self.silent = self.stream.first_event is None
        return begins

    @property
    def told(self) -> Position:
        """How far feeds were told of it."""
        return BEGINNING if self.silent or self.catching is not None else self.stream.position


class Sessions:
    """All subscribers of an edge, and the streams that they hear."""

    def __init__(self, results: str, tokens: str, log: int = 0) -> None:
        """Begin.

        Args:
            results: name of the topic of events, with the prefix.
            tokens: name of the topic of tokens, with the prefix.
            log: what cursors hold of the Kafka cluster, see `cursor.log_id`.
        """
        self.log = log
        self._results = results
        self._tokens = tokens
        self._positions: Positions = {}
        self._at = 0
        self._watched: dict[str, _Watched] = {}
        self._feeds: dict[tuple[frozenset[str], View], _Feed] = {}
        self._by_owner: dict[str, set[_Feed]] = {}
        self._lagging: set[str] = set()
        """Tasks of which records were fed that could not be told yet."""
        self._waiting: set[str] = set()
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Tasks whose end was fed: one who follows a feed is not told twice."""
        self._unheard: OrderedDict[str, None] = OrderedDict()
        """Tasks that began to stream when nobody heard of them."""
        self._asked: list[CatchUp] = []

    # Partitions

    def attach(self, positions: Positions) -> None:
        """Expect records of partitions; these are the first offsets that `feed` will be given."""
        self._positions.update(positions)

    def detach(self, partitions: Iterable[int]) -> None:
        """Expect no more records of partitions that nobody needs."""
        for partition in partitions:
            for topic in (self._results, self._tokens):
                self._positions.pop((topic, partition), None)

    @property
    def needed(self) -> set[int]:
        """The partitions that someone hears of."""
        needed = {watched.partition for watched in self._watched.values()}
        return needed.union(*(feed.partitions for feed in self._feeds.values()))

    def position(self, partition: int) -> Position:
        """Return how far a partition was fed."""
        return Position(self._positions[self._results, partition], self._positions[self._tokens, partition])

    # Tasks

    def watch(self, subscriber: Subscriber, task: str, before: TaskCursor | None = None) -> bool:
        """Let a subscriber hear a task from its beginning, or the rest of it.

        Args:
            subscriber: who.
            task: its id.
            before: how far they were told.

        Returns:
            False if nobody hears of it yet, so that it is to be `reserve`d first.
        """
        watched = self._watched.get(task)
        if watched is None:
            return False
        subscriber.tasks.add(task)
        if subscriber in watched.watchers:
            return True
        before = before or TaskCursor(self.log, task, watched.partition)
        subscriber.starts(task, before)
        if watched.catching is None and watched.stream.told_elsewhere(before.position):
            self._tell(watched, watched.stream.give_up())
        watched.watchers.add(subscriber)
        if watched.catching is not None:
            watched.before[subscriber] = before
        else:
            self._tell_rest(watched, subscriber, before)
            if watched.stream.over:
                self._go_on(watched, live=False)
        return True

    def reserve(self, task: str, partition: int, root: str | None = None) -> CatchUp | None:
        """Keep a task's live records from now on until `caught_up`; None if that is being done already."""
        if task in self._watched:
            return None
        until = {(topic, partition): self._positions[topic, partition] for topic in (self._results, self._tokens)}
        catch_up = CatchUp(task, partition, until)
        self._watched[task] = _Watched(Stream(task), partition, root or task, catching=catch_up)
        self._lagging.add(task)
        return catch_up

    def caught_up(
        self, catch_up: CatchUp, records: Iterable[Logged], tokens_end: int | None = None, torn: int = 0
    ) -> list[CatchUp]:
        """Go on live with a stream.

        Args:
            catch_up: what `reserve` or `feed` asked for.
            records: the task's records before it; none for a task that is only now submitted.
            tokens_end: where the partition of tokens ended after these were read: an end among them waits for no more.
            torn: where that partition begins, for the log may have forgotten what lay before.

        Returns:
            What is to be read of the step that follows it, where it is over and one does.
        """
        self._catch_up(catch_up, records, tokens_end, torn)
        return self._to_be_read()

    def _catch_up(
        self, catch_up: CatchUp, records: Iterable[Logged], tokens_end: int | None = None, torn: int = 0
    ) -> None:
        watched = self._watched.get(catch_up.task)
        if watched is None or watched.catching is not catch_up:
            return
        watched.catching, pending = None, watched.pending
        watched.pending = []
        watched.stream.torn = torn
        for logged in records:
            with _apart(logged):
                watched.stream.take(logged)
        before, watched.before = watched.before, {}
        told = [one.position for one in before.values()]
        followers = [one for feed in watched.feeds for one in feed.followers.values()]
        told += [lag.position for one in [*followers, *watched.alone] if (lag := one.behind.get(catch_up.task))]
        if any(watched.stream.told_elsewhere(position) for position in told):
            watched.stream.give_up()
        if watched.stream.waits:
            watched.tokens_end = tokens_end
        for subscriber in watched.watchers:
            self._tell_rest(watched, subscriber, before.get(subscriber))
        if watched.begins():
            self._tell_all_feeds_rest(watched)
        for logged in pending:
            with _apart(logged):
                self._take(watched, logged, live=False)
        self._settle(watched)

    def abandon(self, catch_up: CatchUp, problem: BarnabasError) -> None:
        """Give a stream up that could not be caught up with, and tell those who wait for it."""
        watched = self._watched.get(catch_up.task)
        if watched is None or watched.catching is not catch_up:
            return
        followers = [follower for feed in watched.feeds for follower in feed.followers.values()]
        told = pack(frames.error(problem, task=catch_up.task))
        for subscriber in watched.watchers | {one.subscriber for one in [*followers, *watched.alone]}:
            subscriber.tell(told)
        self._forget(watched)

    def unwatch(self, subscriber: Subscriber, task: str) -> None:
        """End a subscription to a task; it is attached no longer."""
        subscriber.tasks.discard(task)
        subscriber.ended(task)
        watched = self._watched.get(task)
        subscriber.attached.discard(watched.root if watched else task)
        if watched is not None:
            self._leave(subscriber, watched)

    # Feeds

    def follow(
        self, subscriber: Subscriber, view: View, partitions: frozenset[int], cursor: FeedCursor | None = None
    ) -> FeedCatchUp:
        """Let a subscriber hear of a view from now on, or from where they were told; what is live waits for `come_up`.

        Args:
            subscriber: who.
            view: of what.
            partitions: where its records lie; they must have been fed as far as the cursor says.
            cursor: how far they were told.
        """
        if view in subscriber.views:
            self.unfollow(subscriber, view)
        feed = self._feeds.get((subscriber.owners, view))
        if feed is None:
            feed = self._feeds[subscriber.owners, view] = _Feed(subscriber.owners, view, partitions)
            for owner in feed.owners:
                self._by_owner.setdefault(owner, set()).add(feed)
        subscriber.views.add(view)
        until = {number: self.position(number) for number in partitions}
        streaming = {task: one.partition for task, one in self._watched.items() if feed in one.feeds}
        begin = cursor or FeedCursor(self.log, self._at, until)
        subscriber.starts(view, begin)
        catch_up = FeedCatchUp(subscriber, view, begin, begin, until, streaming, fresh=cursor is None)
        feed.followers[subscriber] = _Follower(subscriber, catch_up)
        return catch_up

    def begin(self, catch_up: FeedCatchUp, running: dict[str, int]) -> None:
        """Begin to tell what `follow` asked for; of tasks that may stream now all is told by their streams, in the end.

        Args:
            catch_up: what was asked for.
            running: tasks that stream and may not be over, with their partitions.
        """
        follower = self._comes_back(catch_up)
        if follower is not None:
            behind = {task: lag.partition for task, lag in catch_up.cursor.behind.items()}
            self._put_off(follower, catch_up, behind | catch_up.streaming | running)

    def forgotten(self, catch_up: FeedCatchUp, begins: dict[int, int], before: int) -> None:
        """Tell what the log has lost of the time after the cursor.

        Args:
            catch_up: what `begin` has begun.
            begins: the first offsets of events that are left, by partition.
            before: when the first of them was written, in ms since the epoch.
        """
        follower = self._comes_back(catch_up)
        if follower is None:
            return
        cursor = catch_up.cursor
        ends = {
            number: Position(max(begins.get(number, 0), told.events), told.tokens)
            for number, told in cursor.ends.items()
        }
        catch_up.cursor = FeedCursor(self.log, cursor.at, ends)
        gap = frames.Gap(after=iso(cursor.at), before=iso(before))
        self._tell_meanwhile(follower, catch_up, Told(gap, BEGINNING, BEGINNING, 0), 0)

    def meanwhile(self, catch_up: FeedCatchUp, events: Sequence[Logged]) -> None:
        """Tell the next events of tasks that don't stream; of those that do, all is told by their streams.

        Args:
            catch_up: what `begin` has begun.
            events: those of the view after its cursor and before the live tail, in log order within each partition.
        """
        follower = self._comes_back(catch_up)
        if follower is None:
            return
        streams = {one.record.task_id: one.partition for one in events if _streams(one.record)}
        self._put_off(follower, catch_up, streams)
        for logged in events:
            event = logged.record
            if not isinstance(event, TaskEvent) or event.task_id in follower.behind:
                continue
            ends, number = dict(catch_up.cursor.ends), logged.partition
            ends[number] = Position(logged.offset + 1, ends[number].tokens)
            catch_up.cursor = FeedCursor(self.log, max(catch_up.cursor.at, logged.timestamp), ends)
            with _apart(logged):
                self._tell_meanwhile(follower, catch_up, _plain(event, logged), number)

    def _put_off(self, follower: _Follower, catch_up: FeedCatchUp, streams: dict[str, int]) -> None:
        """Have tasks told by their streams when one has come up, from where they were told before."""
        for task, partition in streams.items():
            told = BEGINNING if catch_up.fresh else catch_up.start.ends[partition]
            follower.behind.setdefault(task, catch_up.start.behind.get(task) or Lag(partition, told))

    def come_up(self, catch_up: FeedCatchUp) -> list[CatchUp]:
        """Go on live with one who follows a feed; return what is to be read of tasks that stream."""
        follower = self._comes_back(catch_up)
        if follower is None:
            return []
        streams = dict(follower.behind)
        held, follower.held = follower.held or [], None
        for one in held:
            if one.line is not None and one.line.told.frame.task not in streams:
                follower.tell(pack_line(_lagging_more(one.line, follower.behind)))
        feed = self._feeds[catch_up.subscriber.owners, catch_up.view]
        for task, lag in streams.items():
            self._hear(feed, follower, task, lag.partition)
        return self._to_be_read()

    def _comes_back(self, catch_up: FeedCatchUp) -> _Follower | None:
        """Return one who is still coming back to a feed by this."""
        feed = self._feeds.get((catch_up.subscriber.owners, catch_up.view))
        follower = feed.followers.get(catch_up.subscriber) if feed else None
        return follower if follower and follower.catch_up is catch_up and follower.held is not None else None

    def _tell_meanwhile(self, follower: _Follower, catch_up: FeedCatchUp, told: Told, partition: int) -> None:
        cursor = msgspec.structs.replace(catch_up.cursor, behind=dict(follower.behind))
        follower.subscriber.tell(pack_line(Line(catch_up.view, told, partition, cursor)))

    def give_up(self, catch_up: FeedCatchUp, problem: BarnabasError) -> None:
        """Tell one who follows a feed that what happened before could not be read, and end it."""
        self.unfollow(catch_up.subscriber, catch_up.view)
        catch_up.subscriber.tell(pack(frames.error(problem, via=catch_up.view.name)))

    def unfollow(self, subscriber: Subscriber, view: View) -> None:
        """End a subscription to a view; those to single tasks stay."""
        subscriber.views.discard(view)
        subscriber.ended(view)
        feed = self._feeds.get((subscriber.owners, view))
        follower = feed.followers.pop(subscriber, None) if feed else None
        if feed is None or follower is None:
            return
        if not feed.followers:
            del self._feeds[feed.owners, view]
            for owner in feed.owners:
                self._by_owner[owner].discard(feed)
                if not self._by_owner[owner]:
                    del self._by_owner[owner]
        for watched in list(self._watched.values()):
            heard = watched.alone.pop(follower, None) is not None
            if not feed.followers and feed in watched.feeds:
                watched.feeds.discard(feed)
                heard = True
            if heard:  # what is only just reserved is heard by nobody yet
                self._drop_unheard(watched)

    def close(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        for task in list(subscriber.tasks):
            if (watched := self._watched.get(task)) is not None:
                self._leave(subscriber, watched)
        subscriber.tasks.clear()
        for view in list(subscriber.views):
            self.unfollow(subscriber, view)

    # Records

    def feed(self, records: Iterable[Logged]) -> list[CatchUp]:
        """Take what the live tail read, in log order.

        Returns:
            What is to be read: of answers that began before those who follow a feed heard of them, and of steps of chains.
        """
        for logged in records:
            place = logged.topic, logged.partition
            expected = self._positions.get(place)
            if expected is None or logged.offset < expected:
                continue  # nobody needs it any more, or the tail went back after the broker did
            self._positions[place] = logged.offset + 1
            self._at = max(self._at, logged.timestamp)
            record = logged.record
            with _apart(logged):
                if isinstance(record, TaskEvent):
                    self._event(record, logged)
                elif isinstance(record, TokenDelta):
                    self._tokens_came(record, logged)
        for task in list(self._waiting):
            self._settle(self._watched[task])
        return self._to_be_read()

    def _tokens_came(self, delta: TokenDelta, logged: Logged) -> None:
        if (watched := self._watched.get(delta.task_id)) is not None:
            self._take(watched, logged)
        elif delta.type is DeltaType.CLAIM:
            _remember(self._unheard, delta.task_id)

    def _to_be_read(self) -> list[CatchUp]:
        asked, self._asked = self._asked, []
        return asked

    def _event(self, event: TaskEvent, logged: Logged) -> None:
        feeds = [feed for feed in self._by_owner.get(event.owner, ()) if feed.hears(event, logged.partition)]
        watched = self._watched.get(event.task_id)
        if feeds and event.task_id not in self._ended:
            if watched is None and _streams(event) and not event.status.terminal:
                watched = self._reserve_before(event, logged)
            for feed in feeds:
                if watched is not None and _streams(event):
                    self._join(feed, watched)
                else:
                    self._tell_feed(feed, _What(_plain(event, logged), event.task_id, logged.partition))
        if event.status.terminal:
            _remember(self._ended, event.task_id)
            if event.next_id is None:
                for subscriber in (one for feed in feeds for one in feed.followers):
                    subscriber.attached.discard(event.root_id)
        if watched is not None:
            self._take(watched, logged)
            self._settle(watched)

    def _reserve_before(self, event: TaskEvent, logged: Logged) -> _Watched | None:
        """Keep what streams for a feed, from its beginning on."""
        if catch_up := self.reserve(event.task_id, logged.partition, event.root_id):
            self._asked.append(catch_up)
        return self._watched.get(event.task_id)

    def _take(self, watched: _Watched, logged: Logged, *, live: bool = True) -> None:
        if watched.catching is not None:
            watched.pending.append(logged)
            return
        self._tell(watched, watched.stream.take(logged), more=not live)
        if watched.stream.over:
            # The events of the step that follows come after this very event; else some may have gone by already.
            self._go_on(watched, live=live and isinstance(logged.record, TaskEvent))

    def _settle(self, watched: _Watched) -> None:
        """Tell an end that waits for tokens which can't come any more, and let go of what is over."""
        task = watched.stream.task
        if task not in self._watched or watched.catching is not None:
            return
        if watched.stream.waits and watched.tokens_end is not None:
            if self._positions[self._tokens, watched.partition] < watched.tokens_end:
                self._waiting.add(task)
                return
            self._tell(watched, watched.stream.give_up())
        if watched.stream.over:
            self._go_on(watched, live=False)
        elif not watched.stream.waits and not watched.silent:
            self._lagging.discard(task)

    def _go_on(self, watched: _Watched, *, live: bool) -> None:
        """Let go of a stream that is over; those who watched it watch the next step of its chain.

        Args:
            watched: what is over.
            live: whether none of the step's records can have gone by; else they are read from the log.
        """
        following = watched.stream.next_id
        watchers = [one for one in watched.watchers if watched.stream.task in one.tasks]
        self._forget(watched)
        if following is None:
            for subscriber in watchers:
                subscriber.attached.discard(watched.root)
        if following is None or not watchers:
            return
        catch_up = self.reserve(following, watched.partition, watched.root)
        for subscriber in watchers:
            self.watch(subscriber, following)
        # Its tokens lie in another topic, of which the tail may have read further.
        if catch_up is not None and live and following not in self._unheard:
            self._catch_up(catch_up, ())
        elif catch_up is not None:
            self._asked.append(catch_up)

    # Telling

    def _tell(self, watched: _Watched, tolds: Sequence[Told], *, more: bool = False) -> None:
        """Tell all who hear of a stream what one record brought; `more` of it was fed that is yet to be told."""
        task = watched.stream.task
        begins = watched.begins()
        if more or watched.stream.waits or watched.silent:
            self._lagging.add(task)
        else:
            self._lagging.discard(task)
        for number, told in enumerate(tolds, 1):
            lag = Lag(watched.partition, told.after) if number < len(tolds) or task in self._lagging else None
            what = _What(told, task, watched.partition, lag)
            if watched.watchers:
                one = self._line(watched, told)
                for subscriber in watched.watchers:
                    subscriber.tell(one)
            if watched.silent or begins:
                continue
            for feed in watched.feeds:
                self._tell_feed(feed, what)
            for follower, feed in watched.alone.items():
                self._tell_follower(feed, follower, what)
        if begins:
            self._tell_all_feeds_rest(watched)

    def _tell_rest(self, watched: _Watched, subscriber: Subscriber, before: TaskCursor | None) -> None:
        before = before or TaskCursor(self.log, watched.stream.task, watched.partition)
        for told in watched.stream.rest(before.position, before.index):
            subscriber.tell(self._line(watched, told))

    def _line(self, watched: _Watched, told: Told) -> Packed:
        cursor = TaskCursor(self.log, watched.stream.task, watched.partition, told.after, told.so_far)
        return pack_line(Line(BY_TASK, told, watched.partition, cursor))

    def _tell_feed(self, feed: _Feed, what: _What) -> None:
        watched = self._watched.get(what.task)
        shared: Packed | None = None
        for follower in feed.followers.values():
            if watched is not None and follower in watched.alone:
                continue  # hears of it by the stream
            if self._behind(follower):
                self._tell_follower(feed, follower, what)
                continue
            shared = shared or pack_line(self._feed_line(feed, what))
            follower.tell(shared)

    def _tell_follower(self, feed: _Feed, follower: _Follower, what: _What) -> None:
        behind = self._behind(follower)
        behind.pop(what.task, None)
        follower.tell(pack_line(_lagging_more(self._feed_line(feed, what), behind)))

    def _feed_line(self, feed: _Feed, what: _What) -> Line:
        return Line(feed.view, what.told, what.partition, self._cursor(feed, what.task, what.lag))

    def _behind(self, follower: _Follower) -> dict[str, Lag]:
        """Return the tasks of which less was told to one than to the others of the feed."""
        behind = dict(follower.behind)
        for task in self._lagging:
            watched = self._watched[task]
            if follower in watched.alone and watched.catching is None:
                behind.setdefault(task, Lag(watched.partition, watched.told))
        return behind

    def _tell_all_feeds_rest(self, watched: _Watched) -> None:
        for feed in watched.feeds:
            for follower in feed.followers.values():
                self._tell_feed_rest(watched, feed, follower)
        for follower, feed in watched.alone.items():
            self._tell_feed_rest(watched, feed, follower)

    def _tell_feed_rest(self, watched: _Watched, feed: _Feed, follower: _Follower) -> None:
        """Tell one who follows a feed what a stream said so far, beyond what they were told of it."""
        stream = watched.stream
        if stream.first_event is None or (follower.held is not None and stream.task in follower.behind):
            return  # or it is told when they come up
        lag = follower.behind.pop(stream.task, None)
        before = lag.position if lag else BEGINNING
        if stream.first_event >= before.events:
            before = BEGINNING  # nothing of it was told
        rest = stream.rest(before)
        for number, told in enumerate(rest, 1):
            partly = number < len(rest) or stream.task in self._lagging
            lag = Lag(watched.partition, told.after) if partly else None
            self._tell_follower(feed, follower, _What(told, stream.task, watched.partition, lag))

    def _join(self, feed: _Feed, watched: _Watched) -> None:
        """Let all who follow a feed hear a stream; who hears it alone already goes on."""
        if feed in watched.feeds:
            return
        self._lagging.add(watched.stream.task)  # the record that made it join is fed, and not told yet
        apart = [follower for follower, of in watched.alone.items() if of is feed]
        for follower in apart:
            del watched.alone[follower]
        watched.feeds.add(feed)
        if watched.catching is None:
            for follower in feed.followers.values():
                if follower not in apart:
                    self._tell_feed_rest(watched, feed, follower)

    def _hear(self, feed: _Feed, follower: _Follower, task: str, partition: int) -> None:
        """Let one who follows a feed hear what they were not told of a stream."""
        if catch_up := self.reserve(task, partition):
            self._asked.append(catch_up)
        watched = self._watched[task]
        told = follower.behind[task].position
        if watched.catching is None and watched.stream.told_elsewhere(told):
            self._tell(watched, watched.stream.give_up())
        if feed not in watched.feeds:
            watched.alone[follower] = feed
        if watched.catching is None:
            self._tell_feed_rest(watched, feed, follower)
            if watched.stream.over:
                self._go_on(watched, live=False)

    def _cursor(self, feed: _Feed, task: str, lag: Lag | None) -> FeedCursor:
        """Return how far a feed was told, now that a task was told completely, or up to where it lags."""
        ends = {number: self.position(number) for number in feed.partitions}
        behind = {}
        for other in self._lagging:
            watched = self._watched[other]
            if other != task and feed in watched.feeds:
                behind[other] = Lag(watched.partition, watched.told)
        if lag is not None:
            behind[task] = lag
        return FeedCursor(self.log, self._at, ends, behind)

    # Housekeeping

    def _leave(self, subscriber: Subscriber, watched: _Watched) -> None:
        if subscriber in watched.watchers:
            watched.watchers.discard(subscriber)
            watched.before.pop(subscriber, None)
            self._drop_unheard(watched)

    def _drop_unheard(self, watched: _Watched) -> None:
        if not (watched.watchers or watched.feeds or watched.alone):
            self._forget(watched)

    def _forget(self, watched: _Watched) -> None:
        task = watched.stream.task
        self._watched.pop(task, None)
        self._waiting.discard(task)
        self._lagging.discard(task)
        for subscriber in watched.watchers:
            subscriber.tasks.discard(task)


def _streams(record: msgspec.Struct | None) -> TypeGuard[TaskEvent]:
    """Whether it is an event of a task that streams."""
    return isinstance(record, TaskEvent) and record.kind.startswith(INFERENCE_KINDS)


def _plain(event: TaskEvent, logged: Logged) -> Told:
    """Return an event of a task that has no stream."""
    frame = frames.event(event, logged.topic, logged.partition, logged.offset)
    return Told(frame, Position(logged.offset, 0), Position(logged.offset + 1, 0), 0)


def _lagging_more(line: Line, behind: dict[str, Lag]) -> Line:
    """Return what a feed is told with the cursor of one who has heard less of some tasks."""
    if not behind or not isinstance(line.cursor, FeedCursor):
        return line
    return line._replace(cursor=msgspec.structs.replace(line.cursor, behind={**line.cursor.behind, **behind}))


def _remember(tasks: OrderedDict[str, None], task: str) -> None:
    tasks[task] = None
    if len(tasks) > REMEMBERED:
        tasks.popitem(last=False)


@contextmanager
def _apart(logged: Logged) -> Iterator[None]:
    """Keep what one record does wrong from the others: it is logged and passed over."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, the next record may be someone else's
        _log.exception("sessions.unheard", topic=logged.topic, partition=logged.partition, offset=logged.offset)
