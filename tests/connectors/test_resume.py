"""Cursors, without a broker: whoever breaks off anywhere and comes back to any edge is told exactly the rest."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import cursor as cursors
from connectors.cursor import BEGINNING, FeedCursor, Lag, Position, TaskCursor
from connectors.errors import CursorError
from connectors.frames import Error, Gap, Tokens
from connectors.log import Logged
from connectors.packed import View
from connectors.sessions import CatchUp, Sessions
from connectors.subscriber import Subscriber
from schemas.records import DeltaType, Status, TaskEvent, TokenDelta
from schemas.tiers import Tier

OWNER = "ann"
ALL = View(all=True)
PARTITIONS = 2
THRICE = settings(max_examples=3 * settings().max_examples)


class Log:
    """Both topics, each in its order, as the workers of some tasks write them; and what each task's readers must hear."""

    def __init__(self, chance: random.Random, tasks: int) -> None:
        self.rows: dict[tuple[str, int], list[Logged]] = {(t, p): [] for t in "rk" for p in range(PARTITIONS)}
        self.events: dict[str, list[str]] = {}
        self.texts: dict[str, str] = {}
        self.partition = {f"t{n}": chance.randrange(PARTITIONS) for n in range(tasks)}
        self.order: list[Logged] = []
        writers = [self._task(name, chance) for name in self.partition]
        while writers:
            writer = chance.choice(writers)
            try:
                next(writer)
            except StopIteration:
                writers.remove(writer)

    def _write(self, topic: str, task: str, record: msgspec.Struct) -> int:
        rows = self.rows[topic, self.partition[task]]
        row = Logged(topic, self.partition[task], len(rows), len(self.order), "key", record)
        rows.append(row)
        self.order.append(row)
        return row.offset

    def _event(self, task: str, status: Status, kind: str, **fields: object) -> None:
        event = TaskEvent(
            task_id=task, key="key", kind=kind, tier=Tier.URGENT, owner=OWNER, tenant=OWNER, root_id=task,
            status=status, attempt=1, at=0, worker="w", **fields,
        )  # fmt: skip
        offset = self._write("r", task, event)
        self.events.setdefault(task, []).append(f"{status.value} {offset}")

    def _task(self, task: str, chance: random.Random):
        if chance.random() < 0.3:
            self._event(task, Status.STARTED, "cron.parse")
            yield
            self._event(task, Status.SUCCEEDED, "cron.parse")
            return
        self._event(task, Status.STARTED, "llm.chat")
        yield
        text, latest, claims = "", -1, {}
        for _ in range(chance.randint(1, 3)):
            delta = TokenDelta(task_id=task, type=DeltaType.CLAIM, claim=-1, index=len(text))
            latest = self._write("k", task, delta)
            claims[latest] = len(text)
            yield
            for _ in range(chance.randint(0, 5)):
                worker = chance.choice([*claims])
                piece = "".join(chance.choice("abcdé") for _ in range(chance.randint(1, 3)))
                self._write("k", task, tokens(task, worker, claims[worker], piece))
                claims[worker] += len(piece)
                if worker == latest:
                    text += piece
                yield
            if chance.random() < 0.3:
                self._event(task, Status.PROGRESS, "llm.chat")
                yield
        tail = chance.choice(["", "so"])
        end = TokenDelta(task_id=task, type=DeltaType.END, claim=latest, index=len(text), text=tail)
        done = [
            lambda: self._write("k", task, end),
            lambda: self._event(task, Status.SUCCEEDED, "llm.chat", claim=latest, tokens=len(text)),
        ]
        if chance.random() < 0.3:
            done.reverse()
        for step in done:
            step()
            yield
        self.texts[task] = text + tail


def tokens(task: str, claim: int, index: int, text: str) -> TokenDelta:
    return TokenDelta(
        task_id=task, type=DeltaType.TOKENS, claim=claim, index=index, token_ids=[0] * len(text), text=text
    )


class Edge:
    """Sessions fed from a log, each partition at its own pace, and catch-ups that are read a while after they are asked for."""

    def __init__(self, log: Log, chance: random.Random) -> None:
        self.log = log
        self.chance = chance
        self.sessions = Sessions("r", "k", 7)
        self.sessions.attach(dict.fromkeys(log.rows, 0))
        self.at = dict.fromkeys(log.rows, 0)
        self.asked: list[object] = []

    def step(self) -> None:
        """Do one of the things that may happen next."""
        behind = [place for place, rows in self.log.rows.items() if self.at[place] < len(rows)]
        if self.asked and (not behind or self.chance.random() < 0.4):
            self._answer(self.asked.pop(self.chance.randrange(len(self.asked))))
        elif behind:
            place = self.chance.choice(behind)
            more = self.log.rows[place][self.at[place] :][: self.chance.randint(1, 3)]
            self.at[place] += len(more)
            self.asked += self.sessions.feed(more)

    @property
    def idle(self) -> bool:
        return not self.asked and all(self.at[place] == len(rows) for place, rows in self.log.rows.items())

    def ask(self, asked: object) -> None:
        self.asked.append(asked)

    def _answer(self, asked) -> None:
        if isinstance(asked, CatchUp):
            places = [("r", asked.partition), ("k", asked.partition)]
            if self.chance.random() < 0.5:
                places.reverse()
            rows = [row for place in places for row in self.log.rows[place][: asked.until[place]]]
            mine = [row for row in rows if row.record.task_id == asked.task]
            ends = len(self.log.rows["k", asked.partition])
            self.asked += self.sessions.caught_up(asked, mine, ends)
        else:
            if not isinstance(asked, list):
                asked = self._begin(asked)
            catch_up, events = asked
            if events:
                many = self.chance.randint(1, 3)
                self.sessions.meanwhile(catch_up, events[:many])
                self.asked.append([catch_up, events[many:]])
            else:
                self.asked += self.sessions.come_up(catch_up)

    def _begin(self, catch_up):
        ends, until = catch_up.cursor.ends, catch_up.until
        rows = [
            row
            for number in range(PARTITIONS)
            for row in self.log.rows["r", number][ends[number].events : until[number].events]
        ]
        self.sessions.begin(catch_up, self.running(until))
        return [catch_up, rows]

    def running(self, until: dict[int, Position]) -> dict[str, int]:
        """What the projection knows: tasks that stream and have begun, and not ended, by now or by a moment ago."""
        found = {}
        for number in range(PARTITIONS):
            for row in self.log.rows["r", number][: self.at["r", number]]:
                if row.record.kind.startswith("llm"):
                    found[row.record.task_id] = number
                    if row.record.status.terminal and row.offset < until[number].events:
                        del found[row.record.task_id]
        return found

    def has_come_to(self, ends: dict[int, Position]) -> bool:
        return all(
            self.sessions.position(number).events >= position.events
            and self.sessions.position(number).tokens >= position.tokens
            for number, position in ends.items()
        )


@dataclass
class Client:
    """Hears over connections that break, and keeps the last cursor."""

    limit: int = 1_000_000
    cursor: str | None = None
    events: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    subscriber: Subscriber | None = None
    edge: Edge | None = None

    def connect(self, edge: Edge) -> Subscriber:
        self.edge = edge
        self.subscriber = Subscriber(frozenset({OWNER}), self.limit, lambda: None)
        return self.subscriber

    def hear(self, most: int = 1_000_000) -> None:
        for _ in range(most):
            packed = self.subscriber.next()
            if packed is None:
                return
            frame = packed.frame
            if isinstance(frame, Error):
                self.cursor = frame.resume[0].cursor
                return
            assert not isinstance(frame, Gap), frame
            assert msgspec.json.decode(packed.data)["cursor"] == frame.cursor
            self.cursor = frame.cursor
            if isinstance(frame, Tokens):
                assert frame.index == self.counts.get(frame.task, 0), "a hole or a repeat"
                self.counts[frame.task] = frame.index + frame.count
                self.texts[frame.task] = self.texts.get(frame.task, "") + frame.text
            else:
                self.events.setdefault(frame.task, []).append(f"{frame.status} {frame.offset}")

    def disconnect(self) -> None:
        self.edge.sessions.close(self.subscriber)
        self.subscriber = None


def follow(client: Client, edge: Edge) -> None:
    cursor = None
    if client.cursor is not None:
        cursor = cursors.read(client.cursor)
        while not edge.has_come_to(cursor.ends):
            edge.step()
    subscriber = client.connect(edge)
    catch_up = edge.sessions.follow(subscriber, ALL, frozenset(range(PARTITIONS)), cursor)
    client.cursor = cursors.write(catch_up.cursor)
    edge.ask(catch_up)


def watch(client: Client, edge: Edge, task: str) -> None:
    before = None
    if client.cursor is not None:
        before = cursors.read(client.cursor)
        while not edge.has_come_to({before.partition: before.position}):
            edge.step()
    catch_up = edge.sessions.reserve(task, edge.log.partition[task])
    subscriber = client.connect(edge)
    edge.sessions.watch(subscriber, task, before)
    if catch_up is not None:
        edge.ask(catch_up)


def without_progress(events: list[str]) -> list[str]:
    return [event for event in events if not event.startswith("progress")]


def live(chance: random.Random, log: Log, client: Client, come) -> None:
    """Connect to one edge after another, hear a few frames of what waits, and break off; at the end hear all."""
    edges = [Edge(log, chance) for _ in range(2)]
    come(client, edges[0])
    for _ in range(chance.randint(0, 60)):
        chance.choice(edges).step()
        if chance.random() < 0.3:
            client.hear(chance.randint(1, 4))
        if client.subscriber.lost:
            client.hear()
        if client.subscriber.lost or chance.random() < 0.1:
            client.disconnect()
            come(client, chance.choice(edges))
    for _ in range(100_000):
        if client.subscriber.lost:
            client.hear()
            client.disconnect()
            come(client, chance.choice(edges))
        if client.edge.idle:
            break
        client.edge.step()
        client.hear()
    client.hear()


@THRICE
@given(st.integers(0, 2**32), st.sampled_from([1_000_000, 3_000]))
def test_a_task_is_told_whole_however_often_the_connection_breaks(seed, limit):
    chance = random.Random(seed)
    log = Log(chance, 3)
    task = chance.choice([*log.texts] or ["t0"])
    client = Client(limit)
    live(chance, log, client, lambda client, edge: watch(client, edge, task))
    assert client.texts.get(task, "") == log.texts.get(task, "")
    assert without_progress(client.events[task]) == without_progress(log.events[task])
    if limit > 10_000:
        assert client.events[task] == log.events[task]


@THRICE
@given(st.integers(0, 2**32), st.sampled_from([1_000_000, 3_000]))
def test_a_feed_is_told_whole_from_its_cursor_on_however_often_the_connection_breaks(seed, limit):
    """From the very beginning of the log on, so that all is to be told."""
    chance = random.Random(seed)
    log = Log(chance, chance.randint(1, 6))
    begin = FeedCursor(7, 0, dict.fromkeys(range(PARTITIONS), BEGINNING))
    client = Client(limit, cursors.write(begin))
    live(chance, log, client, follow)
    assert client.texts == {task: text for task, text in log.texts.items() if text}
    for task, events in log.events.items():
        assert without_progress(client.events.get(task, [])) == without_progress(events)
        if limit > 10_000:
            assert client.events[task] == events


@given(st.integers(0, 2**32))
def test_who_follows_from_now_on_is_told_what_runs_from_its_beginning(seed):
    chance = random.Random(seed)
    log = Log(chance, 4)
    edge = Edge(log, chance)
    for _ in range(chance.randint(0, 30)):
        edge.step()
    client = Client()
    running = edge.running({n: edge.sessions.position(n) for n in range(PARTITIONS)})
    follow(client, edge)
    while not edge.idle:
        edge.step()
    client.hear()
    for task in running:
        assert client.texts.get(task, "") == log.texts[task]
        assert client.events[task] == log.events[task]


@given(st.integers(0, 2**32))
def test_two_who_follow_do_not_disturb_each_other(seed):
    chance = random.Random(seed)
    log = Log(chance, 4)
    edge = Edge(log, chance)
    begin = cursors.write(FeedCursor(7, 0, dict.fromkeys(range(PARTITIONS), BEGINNING)))
    first, second = Client(cursor=begin), Client(cursor=begin)
    follow(first, edge)
    for _ in range(chance.randint(0, 30)):
        edge.step()
    follow(second, edge)
    for _ in range(chance.randint(0, 30)):
        edge.step()
    first.hear(chance.randint(0, 5))
    first.disconnect()
    follow(first, edge)
    while not edge.idle:
        edge.step()
    for client in (first, second):
        client.hear()
        assert client.texts == {task: text for task, text in log.texts.items() if text}
        assert client.events == log.events


@pytest.mark.parametrize(
    "text", ["", "x", "!", "AAAA", "é", cursors.write(TaskCursor(1, "t", 0))[:-2], "A" * 20_000, "gqF0"]
)
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(CursorError) as caught:
        cursors.read(text)
    assert caught.value.field == "cursor"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_cursor_or_an_error(data):
    import base64

    try:
        cursors.read(base64.urlsafe_b64encode(data).decode())
    except CursorError:
        return


def test_cursors_say_the_same_when_they_come_back():
    for cursor in (
        TaskCursor(3, "0199d3a4-5c1e-7a60-8f43-0242ac120002", 15, Position(5, 2**40), 99),
        FeedCursor(3, 10**12, {0: Position(1, 2)}, {"t": Lag(0, Position(3, 4))}),
    ):
        text = cursors.write(cursor)
        assert cursors.read(text) == cursor
        assert text.isascii()
        assert len(text) < 120
