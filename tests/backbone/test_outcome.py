"""Pure: what follows from an attempt."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from backbone import outcome
from backbone.settings import TierTable
from backbone.stamp import stamp
from schemas import records, topics
from schemas.errors import Problem
from schemas.records import Status
from schemas.tiers import Tier

TABLE = TierTable()
NOW = 1_800_000_000_000
TRANSIENT = Problem("net.failed", "it broke", retryable=True)
BUSY = Problem(outcome.BUSY, "others use it", retryable=True)
PERMANENT = Problem("payload.invalid", "no such field", field="payload.x")


def task(tier: Tier = Tier.REALTIME, **fields) -> records.Task:
    return stamp(records.Task(kind="cron.parse", **fields), task_id="t1", tier=tier, policy=TABLE[tier], now=NOW)


def fail(what: records.Task, problem: Problem, now: int = NOW, after: int = 0) -> outcome.Outcome:
    return outcome.failed(what, problem, policy=TABLE[what.tier], now=now, worker="w", jitter=0.5, after=after)


class TestFailed:
    def test_a_transient_failure_is_tried_again_by_a_timer(self):
        first = task()
        timer, event = (out.record for out in fail(first, TRANSIENT).records)
        again = timer.template.task
        assert (event.status, event.error) == (Status.RETRYING, TRANSIENT)
        assert (again.id, again.key, again.deadline, again.attempt) == (first.id, first.key, first.deadline, 2)
        assert [attempt.code for attempt in again.history] == ["net.failed"]
        assert NOW < timer.at < first.deadline

    def test_a_permanent_failure_is_not_tried_again(self):
        letter, event = (out.record for out in fail(task(), PERMANENT).records)
        assert (event.status, event.error) == (Status.FAILED, PERMANENT)
        assert letter.task == task()

    @given(tier=st.sampled_from(Tier))
    def test_attempts_end_and_the_dead_letter_tells_each_error(self, tier):
        current = task(tier)
        for attempt in range(1, TABLE[tier].attempts + 1):
            made = fail(current, TRANSIENT)
            if attempt < TABLE[tier].attempts:
                current = made.records[0].record.template.task
        letter, event = (out.record for out in made.records)
        assert event.status is Status.FAILED
        assert [entry.attempt for entry in letter.history] == list(range(1, TABLE[tier].attempts + 1))
        assert letter.task == current

    def test_what_is_in_use_is_waited_for_to_the_deadline_and_counts_as_no_failure(self):
        current, now = task(Tier.BATCH), NOW
        attempts = 0
        while len(made := fail(current, BUSY, now).records) == 2 and isinstance(made[0].record, records.Timer):
            current, now = made[0].record.template.task, made[0].record.at
            attempts += 1
            assert (current.history, current.attempt) == ([], attempts + 1)
        assert attempts > TABLE[Tier.BATCH].attempts
        assert current.deadline - now <= outcome.BACKOFF_CAP_MS
        assert [entry.code for entry in made[0].record.history] == []
        assert fail(current, TRANSIENT).records[0].record.template.task.history[0].code == "net.failed"

    def test_no_attempt_is_planned_past_the_deadline(self):
        late = task()
        made = fail(late, TRANSIENT, now=late.deadline - 1)
        assert made.slot == outcome.end_slot(late.id)

    @given(after=st.integers(1, 10**9), problem=st.sampled_from([TRANSIENT, BUSY]))
    def test_another_attempt_waits_for_as_long_as_the_error_says_if_the_deadline_lets_it(self, after, problem):
        first = task()
        record = fail(first, problem, after=after).records[0].record
        if NOW + after + outcome.BACKOFF_BASE_MS < first.deadline:
            assert NOW + after <= record.at <= NOW + max(after + outcome.BACKOFF_BASE_MS, outcome.backoff(3, 0.5))
        elif NOW + after >= first.deadline:
            assert isinstance(record, records.DeadLetter)

    @given(attempt=st.integers(0, 2**31 - 1), jitter=st.floats(0, 1, exclude_max=True))
    def test_backoff_grows_to_a_bound(self, attempt, jitter):
        assert outcome.backoff(1, 0) <= outcome.backoff(attempt, jitter) <= outcome.BACKOFF_CAP_MS

    def test_the_same_failure_gives_the_same_ids(self):
        assert fail(task(), TRANSIENT) == fail(task(), TRANSIENT)


class TestExpiry:
    def test_is_not_before_start_by(self):
        assert outcome.expiry(task(), task().start_by - 1) is None

    def test_what_waited_too_long_is_not_started(self):
        assert outcome.expiry(task(), task().start_by).code == "task.start_by"

    def test_start_by_is_for_the_first_attempt_only(self):
        assert outcome.expiry(task(attempt=2), task().start_by) is None
        assert outcome.expiry(task(), task().start_by, begun=True) is None

    def test_the_deadline_is_for_all(self):
        for what, begun in ((task(), False), (task(attempt=2), False), (task(), True)):
            assert outcome.expiry(what, what.deadline, begun=begun).code == "task.deadline"


class TestStamp:
    def test_fills_in_what_a_bare_task_lacks(self):
        made = task()
        assert (made.id, made.key, made.root_id, made.owner, made.tier) == ("t1", "t1", "t1", "direct", Tier.REALTIME)
        assert (made.start_by - NOW, made.deadline - NOW) == (15_000, 120_000)

    @given(tier=st.sampled_from(Tier))
    def test_changes_nothing_the_second_time(self, tier):
        once = task(tier)
        assert stamp(once, task_id="other", tier=tier, policy=TABLE[tier], now=NOW + 9) == once

    def test_the_key_is_the_conversation(self):
        talk = records.Task(kind="llm.chat", conversation="c1")
        stamped = stamp(talk, task_id="t1", tier=Tier.URGENT, policy=TABLE.urgent, now=NOW)
        assert (stamped.key, task(conversation="c1").key) == ("c1", "c1")


def test_an_event_carries_what_readers_route_by():
    made = outcome.ended(task(owner="ada"), Status.SUCCEEDED, now=NOW, worker="w", result=b"{}")
    (out,) = made.records
    assert (out.topic, out.key) == (topics.RESULTS, "t1")
    assert msgspec.structs.asdict(out.record).items() >= {"owner": "ada", "task_id": "t1", "result": b"{}"}.items()
