"""The core of the live protocols, without a broker: any interleaving, any moment of joining, exactly the accepted text."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import cursor as cursors
from connectors.cursor import Position
from connectors.frames import Event, Tokens
from connectors.log import Logged
from connectors.packed import View
from connectors.sessions import Sessions
from connectors.subscriber import Subscriber
from schemas.errors import BarnabasError
from schemas.records import DeltaType, Status, TaskEvent, TokenDelta
from schemas.tiers import Tier

TASK, OWNER = "t", "ann"
ALL = View(all=True)
RESULTS, TOKENS = ("r", 0), ("k", 0)
THRICE = settings(max_examples=3 * settings().max_examples)
"""Thrice the profile's examples, for what happens in many orders."""


def logged(place, offset, record):
    return Logged(*place, offset, offset, "key", record)


def event(status, **fields):
    return TaskEvent(
        task_id=TASK, key="key", kind="llm.chat", tier=Tier.URGENT, owner=OWNER, tenant=OWNER, root_id=TASK,
        status=status, attempt=1, at=0, worker="w", **fields,
    )  # fmt: skip


def claim(index=0):
    return TokenDelta(task_id=TASK, type=DeltaType.CLAIM, claim=-1, index=index)


def tokens(claim_offset, index, text, kind=DeltaType.TOKENS):
    return TokenDelta(task_id=TASK, type=kind, claim=claim_offset, index=index, token_ids=[0] * len(text), text=text)


class Client:
    """A subscriber and what it was told."""

    def __init__(self, sessions, limit=1_000_000):
        self.sessions = sessions
        self.woken = 0
        self.subscriber = Subscriber(frozenset({OWNER}), limit, self.wake)
        self.told = []

    def wake(self):
        self.woken += 1

    def listen(self):
        while packed := self.subscriber.next():
            assert msgspec.json.decode(packed.data)["type"] == type(packed.frame).__name__.lower()
            self.told.append(packed.frame)
        return self.told

    @property
    def text(self):
        """The text, held against holes and repeats."""
        text, count = "", 0
        for frame in self.listen():
            if isinstance(frame, Tokens):
                assert frame.index == count
                text += frame.text
                count += frame.count
        return text

    @property
    def ends(self):
        return [frame for frame in self.listen() if isinstance(frame, Event) and Status(frame.status).terminal]


def fresh(events=0, tokens=0):
    sessions = Sessions("r", "k")
    sessions.attach({RESULTS: events, TOKENS: tokens})
    return sessions


def follow_all(client):
    """Follow all from now on, where nothing runs."""
    catch_up = client.sessions.follow(client.subscriber, ALL, frozenset({0}))
    client.sessions.begin(catch_up, {})
    client.sessions.come_up(catch_up)


def watching(sessions, **more):
    client = Client(sessions, **more)
    catch_up = sessions.reserve(TASK, 0)
    assert sessions.watch(client.subscriber, TASK)
    if catch_up is not None:
        sessions.caught_up(catch_up, ())
    return client


@st.composite
def logs(draw):
    """A log of tokens as several workers write it, the accepted text, and the end that its winner says.

    Each worker goes on from what was accepted before its claim; one that lost the request goes on writing for a while.
    """
    log, accepted, latest = [], "", -1
    places = {}
    for _ in range(draw(st.integers(1, 4))):
        latest = len(log)
        log.append(claim(len(accepted)))
        places[latest] = len(accepted)
        for _ in range(draw(st.integers(0, 6))):
            worker = draw(st.sampled_from([*places]))
            text = draw(st.text(alphabet="abcdé", min_size=1, max_size=3))
            log.append(tokens(worker, places[worker], text))
            places[worker] += len(text)
            if worker == latest:
                accepted += text
    # What the model held back comes with the end and is of no token.
    tail = draw(st.sampled_from(["", "\N{REPLACEMENT CHARACTER}", "so"]))
    end = TokenDelta(task_id=TASK, type=DeltaType.END, claim=latest, index=len(accepted), text=tail)
    log.append(end)
    return log, accepted + tail, event(Status.SUCCEEDED, claim=latest, tokens=len(accepted))


def merged(draw, log, end):
    """Both topics as a reader may see them: each in its order, between them any."""
    events = [event(Status.STARTED), end]
    rows = []
    at = [0, 0]
    while at[0] < len(log) or at[1] < len(events):
        if at[1] == len(events) or (at[0] < len(log) and draw(st.booleans())):
            rows.append(logged(TOKENS, at[0], log[at[0]]))
            at[0] += 1
        else:
            rows.append(logged(RESULTS, at[1], events[at[1]]))
            at[1] += 1
    return rows


@THRICE
@given(logs(), st.data())
def test_everyone_gets_exactly_the_accepted_text_whenever_they_come(made, data):
    log, accepted, end = made
    rows = merged(data.draw, log, end)
    sessions = fresh()
    # Comes with the submit; comes in the middle and shares the first one's stream; comes and nobody is there.
    early = watching(sessions)
    cut = data.draw(st.integers(0, len(rows)))
    sessions.feed(rows[:cut])
    second = Client(sessions)
    sessions.watch(second.subscriber, TASK)
    sessions.feed(rows[cut:])
    assert early.text == accepted
    assert [type(frame) for frame in early.ends] == [Event]
    assert early.told[-1] is early.ends[0]
    assert early.ends[0].tokens == sum(frame.count for frame in early.told if isinstance(frame, Tokens))
    if cut < len(rows) and second.told:
        assert second.text == accepted
        assert len(second.ends) == 1


@THRICE
@given(logs(), st.data())
def test_one_who_comes_late_is_joined_to_the_live_end_without_hole_or_repeat(made, data):
    log, accepted, end = made
    rows = merged(data.draw, log, end)
    sessions = fresh()
    cut = data.draw(st.integers(0, len(rows)))
    sessions.feed(rows[:cut])
    late = Client(sessions)
    catch_up = sessions.reserve(TASK, 0)
    assert sessions.watch(late.subscriber, TASK)
    until = catch_up.until
    before = [row for row in rows if row.offset < until[row.topic, row.partition]]
    assert sorted(before) == sorted(rows[:cut])
    # Live records go on coming while the log is read.
    pause = data.draw(st.integers(cut, len(rows)))
    sessions.feed(rows[cut:pause])
    assert late.listen() == []
    events_first = data.draw(st.booleans())
    read = sorted(before, key=lambda row: (row.topic == "r") != events_first)
    sessions.caught_up(catch_up, read, len(log))
    sessions.feed(rows[pause:])
    assert late.text == accepted
    assert len(late.ends) == 1
    assert late.told[-1] is late.ends[0]


@given(logs(), st.data())
def test_one_who_watches_all_gets_answers_from_their_beginning(made, data):
    log, accepted, end = made
    rows = merged(data.draw, log, end)
    sessions = fresh()
    everything = Client(sessions)
    follow_all(everything)
    done = []
    for row in rows:
        for catch_up in sessions.feed([row]):
            read = [old for old in done if old.offset < catch_up.until[old.topic, old.partition]]
            sessions.caught_up(catch_up, read, len(log))
        done.append(row)
    assert everything.text == accepted
    assert len(everything.ends) == 1


def test_what_the_tail_reads_twice_is_told_once():
    sessions = fresh()
    client = watching(sessions)
    rows = [logged(TOKENS, 0, claim()), logged(TOKENS, 1, tokens(0, 0, "ab")), logged(TOKENS, 2, tokens(0, 2, "c"))]
    sessions.feed(rows)
    sessions.feed(rows)
    assert client.text == "abc"


def test_the_end_waits_for_its_tokens():
    sessions = fresh()
    client = watching(sessions)
    sessions.feed([logged(TOKENS, 0, claim()), logged(RESULTS, 0, event(Status.SUCCEEDED, claim=0, tokens=2))])
    assert client.listen() == []
    sessions.feed([logged(TOKENS, 1, tokens(0, 0, "a")), logged(TOKENS, 2, tokens(0, 1, "b"))])
    assert (client.text, client.ends) == ("ab", [])
    sessions.feed([logged(TOKENS, 3, end(0, 2))])
    assert (client.text, len(client.ends)) == ("ab", 1)


def end(claim_offset, index, text=""):
    return TokenDelta(task_id=TASK, type=DeltaType.END, claim=claim_offset, index=index, text=text)


def test_an_answer_may_be_nothing_but_what_its_end_brings():
    sessions = fresh()
    early = watching(sessions)
    sessions.feed([logged(TOKENS, 0, claim()), logged(TOKENS, 1, end(0, 0, "so"))])
    late = watching(sessions)
    sessions.feed([logged(TOKENS, 2, end(0, 0, "so")), logged(TOKENS, 3, tokens(0, 0, "more"))])
    sessions.feed([logged(RESULTS, 0, event(Status.SUCCEEDED, claim=0, tokens=0))])
    for client in (early, late):
        assert (client.text, len(client.ends)) == ("so", 1)


@pytest.mark.slow
def test_a_record_that_can_not_be_told_disturbs_no_other():
    sessions = fresh()
    client = watching(sessions)
    strange = msgspec.structs.replace(event(Status.STARTED), at=10**17)
    sessions.feed([logged(RESULTS, 0, strange), logged(RESULTS, 1, event(Status.PROGRESS))])
    assert [frame.status for frame in client.listen()] == ["progress"]
    sessions.feed([logged(RESULTS, 0, event(Status.STARTED))])
    assert len(client.listen()) == 1
    late = Client(fresh())
    catch_up = late.sessions.reserve(TASK, 0)
    late.sessions.watch(late.subscriber, TASK)
    late.sessions.feed([logged(RESULTS, 0, strange), logged(RESULTS, 1, event(Status.PROGRESS))])
    late.sessions.caught_up(catch_up, [logged(RESULTS, 0, strange), logged(TOKENS, 0, claim())])
    assert [frame.status for frame in late.listen()] == ["progress"]


def test_an_end_waits_no_longer_than_its_tokens_can_come():
    """Another worker took the request over before these tokens were in the log: they will never count."""
    sessions = fresh()
    client = watching(sessions)
    sessions.feed([logged(TOKENS, 0, claim()), logged(RESULTS, 0, event(Status.SUCCEEDED, claim=0, tokens=2))])
    sessions.feed([logged(TOKENS, 1, claim()), logged(TOKENS, 2, tokens(0, 0, "ab"))])
    assert (client.text, len(client.ends)) == ("", 1)


def test_an_end_whose_tokens_are_gone_from_the_log_is_told_once_the_tail_has_passed_them():
    sessions = fresh(1, 5)
    client = Client(sessions)
    catch_up = sessions.reserve(TASK, 0)
    sessions.watch(client.subscriber, TASK)
    old = [logged(RESULTS, 0, event(Status.SUCCEEDED, claim=3, tokens=2))]
    sessions.caught_up(catch_up, old, tokens_end=7)
    assert client.ends == []
    other = msgspec.structs.replace(claim(), task_id="other")
    sessions.feed([logged(TOKENS, 5, other), logged(TOKENS, 6, other)])
    assert len(client.ends) == 1


def test_a_cancelled_task_ends_at_once():
    sessions = fresh()
    client = watching(sessions)
    sessions.feed([logged(TOKENS, 0, claim()), logged(RESULTS, 0, event(Status.CANCELLED))])
    sessions.feed([logged(TOKENS, 1, tokens(0, 0, "late"))])
    assert (client.text, len(client.ends)) == ("", 1)
    assert not sessions.watch(client.subscriber, TASK)


def test_all_hears_of_other_kinds_without_reading_back_and_of_each_end_once():
    sessions = fresh()
    mine, other = Client(sessions), Client(sessions)
    other.subscriber.owners = frozenset({"bob"})
    for client in (mine, other):
        follow_all(client)
    started = msgspec.structs.replace(event(Status.STARTED), kind="cron.parse")
    done = msgspec.structs.replace(event(Status.SUCCEEDED), kind="cron.parse")
    rows = [logged(RESULTS, number, record) for number, record in enumerate([started, done, done])]
    assert sessions.feed(rows) == []
    assert [frame.status for frame in mine.listen()] == ["started", "succeeded"]
    assert other.listen() == []


def test_leaving_ends_the_telling():
    sessions = fresh()
    client = watching(sessions)
    follow_all(client)
    sessions.unwatch(client.subscriber, TASK)  # it is still heard through the subscription to all
    [catch_up] = sessions.feed([logged(RESULTS, 0, event(Status.STARTED))])
    sessions.caught_up(catch_up, ())
    assert [frame.via for frame in client.listen()] == ["all"]
    sessions.unfollow(client.subscriber, ALL)
    sessions.feed([logged(RESULTS, 1, event(Status.PROGRESS))])
    assert len(client.listen()) == 1
    sessions.close(client.subscriber)


def test_who_leaves_does_not_take_along_what_another_one_is_about_to_hear():
    sessions = fresh()
    leaves, comes = Client(sessions), Client(sessions)
    follow_all(leaves)
    catch_up = sessions.reserve(TASK, 0)
    sessions.unfollow(leaves.subscriber, ALL)
    sessions.unwatch(leaves.subscriber, TASK)
    sessions.close(leaves.subscriber)
    assert sessions.watch(comes.subscriber, TASK)
    sessions.caught_up(catch_up, ())
    sessions.feed([logged(RESULTS, 0, event(Status.STARTED))])
    assert len(comes.listen()) == 1


def speak(sessions, count, text):
    """Say so many tokens of a text each; returns what is said in all."""
    sessions.feed([logged(TOKENS, 0, claim())])
    for number in range(count):
        record = TokenDelta(task_id=TASK, type=DeltaType.TOKENS, claim=0, index=number, token_ids=[number], text=text)
        yield sessions.feed([logged(TOKENS, number + 1, record)])


def test_a_slow_reader_gets_the_same_in_fewer_frames():
    sessions = fresh()
    slow, quick = watching(sessions, limit=2_000), watching(sessions)
    for _ in speak(sessions, 100, "x"):
        quick.listen()
    assert (slow.text, quick.text) == ("x" * 100, "x" * 100)
    assert len(slow.told) < 20 < len(quick.told)


def test_a_reader_slower_than_that_is_told_how_to_come_back_and_dropped_and_slows_nobody():
    sessions = fresh()
    slow, quick = watching(sessions, limit=2_000), watching(sessions)
    for number, _ in enumerate(speak(sessions, 100, "x" * 30)):
        quick.listen()
        if number == 4:
            slow.listen()
    assert quick.text == "x" * 3000
    assert slow.subscriber.lost
    assert slow.woken < 101
    heard = len(slow.told)
    *_, last = slow.listen()
    assert (len(slow.told), last.code, last.retryable) == (heard + 1, "session.too_slow", True)
    [how] = last.resume
    assert cursors.read(how.cursor).position == Position(0, 6)
    again = Client(sessions)
    sessions.watch(again.subscriber, TASK, cursors.read(how.cursor))
    [rest] = again.listen()
    assert (rest.index, rest.text) == (5, "x" * 2850)


def test_what_can_not_be_caught_up_with_is_told():
    sessions = fresh()
    client = Client(sessions)
    catch_up = sessions.reserve(TASK, 0)
    assert sessions.reserve(TASK, 0) is None
    sessions.watch(client.subscriber, TASK)
    sessions.abandon(catch_up, BarnabasError("the log is away"))
    assert [(frame.task, frame.message) for frame in client.listen()] == [(TASK, "the log is away")]
    sessions.caught_up(catch_up, [logged(TOKENS, 0, claim())])
    assert not sessions.watch(client.subscriber, TASK)


@pytest.mark.parametrize("index", [0, 1, 3])
def test_tokens_of_another_index_than_the_next_are_dropped(index):
    sessions = fresh()
    client = watching(sessions)
    sessions.feed([logged(TOKENS, 0, claim()), logged(TOKENS, 1, tokens(0, 0, "ab"))])
    sessions.feed([logged(TOKENS, 2, tokens(0, index, "zz"))])
    assert client.text == "ab"


def step(number, status, last, **fields):
    """An event of a step of a chain of `last` + 1 tasks."""
    following = f"t{number + 1}" if status is Status.SUCCEEDED and number < last else None
    return msgspec.structs.replace(event(status, **fields), task_id=f"t{number}", step=number, next_id=following)


@given(st.data())
def test_a_chain_is_followed_from_any_moment_to_its_last_step(data):
    last = data.draw(st.integers(1, 4))
    chain = [step(n, status, last) for n in range(last + 1) for status in (Status.STARTED, Status.SUCCEEDED)]
    log = [logged(RESULTS, offset, record) for offset, record in enumerate(chain)]
    joins, reads = data.draw(st.integers(0, len(log))), data.draw(st.integers(0, len(log)))
    sessions = fresh()
    client = Client(sessions)
    sessions.feed(log[:joins])
    asked = [sessions.reserve("t0", 0)]
    sessions.watch(client.subscriber, "t0")
    fed = joins
    while asked or fed < len(log):
        if asked and (fed >= max(reads, joins) or data.draw(st.booleans())):
            catch_up = asked.pop(0)
            until = catch_up.until[RESULTS]
            read = [one for one in log[:until] if one.record.task_id == catch_up.task]
            asked += sessions.caught_up(catch_up, read)
        elif fed < len(log):
            more = data.draw(st.integers(1, 3))
            asked += sessions.feed(log[fed : fed + more])
            fed = min(len(log), fed + more)
    assert [(frame.task, frame.status) for frame in client.listen()] == [
        (record.task_id, record.status.value) for record in chain
    ]
    assert not client.subscriber.tasks
    assert not sessions._watched


def test_a_chain_whose_step_fails_ends_there():
    sessions = fresh()
    client = Client(sessions)
    sessions.caught_up(sessions.reserve("t0", 0), ())
    sessions.watch(client.subscriber, "t0")
    said = [step(0, Status.SUCCEEDED, 2), step(1, Status.FAILED, 2)]
    sessions.feed([logged(RESULTS, offset, record) for offset, record in enumerate(said)])
    assert [(end.task, end.status, end.step, end.next) for end in client.ends] == [
        ("t0", "succeeded", 0, "t1"), ("t1", "failed", 1, None),
    ]  # fmt: skip
    assert not client.subscriber.tasks


def test_a_step_whose_tokens_were_read_before_the_step_before_it_ended_is_read_from_the_log():
    sessions = fresh()
    client = Client(sessions)
    sessions.caught_up(sessions.reserve("t0", 0), ())
    sessions.watch(client.subscriber, "t0")
    early = [msgspec.structs.replace(record, task_id="t1") for record in (claim(), tokens(0, 0, "ab"))]
    spoken = [logged(TOKENS, offset, record) for offset, record in enumerate(early)]
    sessions.feed(spoken)
    [catch_up] = sessions.feed([logged(RESULTS, 0, step(0, Status.SUCCEEDED, 1))])
    sessions.caught_up(catch_up, spoken)
    sessions.feed([logged(RESULTS, 1, step(1, Status.SUCCEEDED, 1, tokens=2))])
    assert client.text == "ab"
    assert [end.task for end in client.ends] == ["t0", "t1"]
