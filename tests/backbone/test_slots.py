"""When timers are due and what becomes of each slot, with the clock as an argument."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone import slots
from backbone.errors import TimerError
from schemas.records import FireOutcome, Misfire, Task, Template, Timer

NOON = int(datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
MINUTE = 60_000
HOUR = 60 * MINUTE


def timer(timer_id="t", **fields) -> Timer:
    fields.setdefault("template", Template(task=Task(kind="cron.parse")))
    return Timer(id=timer_id, owner="ada", tenant="ada", **{"created_at": NOON, **fields})


def local(slot: int, zone: str) -> str:
    return datetime.fromtimestamp(slot / 1000, ZoneInfo(zone)).isoformat()


def told(decisions) -> list[tuple[int, str, int]]:
    """Each decision as (minutes after noon, outcome, count)."""
    return [((one.slot - NOON) // MINUTE, one.outcome.value, one.count) for one in decisions]


class TestSlots:
    def test_a_one_off_has_one(self):
        assert list(slots.slots_after(timer(at=NOON + 5), NOON)) == [NOON + 5]
        assert list(slots.slots_after(timer(at=NOON + 5), NOON + 5)) == []

    @given(every=st.integers(1, 10**9), after=st.integers(0, 10**10))
    def test_an_interval_counts_from_when_it_was_made(self, every, after):
        first, second = islice(slots.slots_after(timer(every=every), NOON + after), 2)
        assert (first - NOON) % every == 0
        assert 0 < first - (NOON + after) <= every
        assert second - first == every

    def test_cron_is_in_its_zone_across_the_change_to_summer_time(self):
        daily = timer(cron="30 8 * * *", tz="Europe/Berlin")
        first, second = islice(slots.slots_after(daily, NOON), 2)
        assert local(first, "Europe/Berlin") == "2026-03-29T08:30:00+02:00"
        assert second - first == 24 * HOUR

    @given(jitter=st.integers(1, HOUR), after=st.integers(0, 2**40))
    def test_jitter_is_bounded_and_the_same_each_time(self, jitter, after):
        spread = timer(every=HOUR, jitter=jitter)
        some = list(islice(slots.dues_after(spread, NOON + after), 5))
        assert all(0 <= due - slot < jitter for slot, due in some)
        assert list(islice(slots.dues_after(spread, some[0][0]), 4)) == some[1:]

    @pytest.mark.parametrize("often", [{"every": MINUTE}, {"cron": "* 8-9 * * *"}])
    def test_no_slot_is_overtaken_by_the_next_whatever_the_jitter(self, often):
        some = list(islice(slots.dues_after(timer(**often, jitter=HOUR), NOON), 300))
        assert all(due < following for (_, due), (following, _) in pairwise(some))

    def test_the_only_slot_has_all_its_jitter(self):
        spread = [next(slots.dues_after(timer(str(n), at=NOON, jitter=HOUR), 0))[1] for n in range(50)]
        assert HOUR // 2 < max(spread) - NOON < HOUR

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({}, "at"),
            ({"at": 1, "every": 1}, "every"),
            ({"every": 0}, "every"),
            ({"every": 1, "tz": "UTC"}, "tz"),
            ({"every": 1, "jitter": -1}, "jitter"),
            ({"every": 1, "max_late": -1}, "max_late"),
            ({"every": 1, "catch_up_limit": 0}, "catch_up_limit"),
            ({"cron": "61 * * * *"}, "cron"),
            ({"cron": ""}, "cron"),
            ({"cron": "* * * * *", "tz": "Mars/Base"}, "tz"),
            ({"cron": "* * * * *", "tz": "../etc"}, "tz"),
            ({"at": 1, "template": Template()}, "template"),
        ],
    )
    def test_what_means_nothing_is_refused_by_field(self, fields, field):
        with pytest.raises(TimerError) as caught:
            slots.check(timer(**fields))
        assert caught.value.field == field


@given(st.text(max_size=20))
def test_any_cron_expression_is_taken_or_refused_by_field(text):
    try:
        slots.check(timer(cron=text))
    except TimerError as error:
        assert error.field == "cron"
    else:
        assert all(slot > NOON for slot in islice(slots.slots_after(timer(cron=text), NOON), 2))


class TestMisfire:
    """Stopped from noon to ten past, with a slot each minute."""

    NOW = NOON + 10 * MINUTE + 5_000

    def decide(self, **fields):
        return told(slots.decide(timer(every=MINUTE, **fields), NOON, self.NOW))

    def test_fire_once_fires_the_newest(self):
        assert self.decide() == [(1, "skipped", 9), (10, "late", 1)]

    def test_catch_up_fires_the_newest_in_order(self):
        assert self.decide(misfire=Misfire.CATCH_UP, catch_up_limit=3) == [
            (1, "skipped", 7), (8, "late", 1), (9, "late", 1), (10, "late", 1),
        ]  # fmt: skip

    def test_skip_fires_none(self):
        assert self.decide(misfire=Misfire.SKIP) == [(1, "skipped", 10)]

    def test_what_is_later_than_its_bound_is_skipped_by_any_policy(self):
        bounded = self.decide(misfire=Misfire.CATCH_UP, max_late=2 * MINUTE)
        assert bounded == [(1, "skipped", 8), (9, "late", 1), (10, "late", 1)]

    def test_a_slot_on_time_is_fired_by_any_policy(self):
        for misfire in Misfire:
            *_, last = slots.decide(timer(every=MINUTE, misfire=misfire), NOON, NOON + 10 * MINUTE)
            assert (last.slot, last.outcome) == (NOON + 10 * MINUTE, FireOutcome.FIRED)

    def test_a_year_of_missed_seconds_is_decided_piece_by_piece_and_only_the_newest_fires(self):
        often, now = timer(every=1000), NOON + 25_000_500
        after, decided = NOON, []
        while made := slots.decide(often, after, now):
            decided += made
            after = made[-1].last
        # Within a second of being due, a slot is on time.
        assert decided[-1].slot == NOON + 25_000_000
        assert {one.outcome for one in decided[:-1]} == {FireOutcome.SKIPPED}
        assert sum(one.count for one in decided) == 25_000


class TestPause:
    """A slot each minute; paused two and a half minutes past noon, and resumed seven and a half past."""

    PAUSED = NOON + 150_000
    RESUMED = NOON + 450_000

    def decide(self, after, now, **fields):
        return told(slots.decide(timer(every=MINUTE, **fields), NOON + after * MINUTE, NOON + now * MINUTE))

    def test_nothing_fires_from_then_on(self):
        paused = timer(every=MINUTE, enabled=False, since=self.PAUSED)
        assert slots.next_due(paused, NOON + MINUTE) == NOON + 2 * MINUTE
        assert slots.next_due(paused, NOON + 2 * MINUTE) is None
        assert slots.decide(paused, NOON + 2 * MINUTE, NOON + 60 * MINUTE) == []

    def test_what_was_due_before_it_is_dealt_with_by_the_misfire_policy(self):
        paused = {"enabled": False, "since": self.PAUSED}
        assert self.decide(0, 60, **paused) == [(1, "skipped", 1), (2, "late", 1)]
        assert self.decide(0, 60, misfire=Misfire.SKIP, **paused) == [(1, "skipped", 2)]

    def test_what_would_have_fired_meanwhile_is_one_range_of_skipped_slots(self):
        paused, *others = slots.decide(timer(every=MINUTE, since=self.RESUMED), NOON + 2 * MINUTE, self.RESUMED)
        assert (told([paused]), paused.reason, others) == ([(3, "skipped", 5)], "paused", [])

    def test_it_goes_on_from_when_it_was_resumed(self):
        assert self.decide(2, 8, since=self.RESUMED) == [(3, "skipped", 5), (8, "fired", 1)]
        assert self.decide(7, 9, since=self.RESUMED) == [(8, "skipped", 1), (9, "fired", 1)]

    def test_without_a_moment_it_is_paused_from_the_beginning(self):
        assert self.decide(0, 60, enabled=False) == []

    def test_a_one_off_that_is_resumed_after_its_moment_is_skipped(self):
        once = timer(at=NOON + 5 * MINUTE, since=self.RESUMED)
        (decision,) = slots.decide(once, NOON + 5 * MINUTE - 1, self.RESUMED)
        assert (decision.outcome, decision.reason) == (FireOutcome.SKIPPED, "paused")

    def test_a_one_off_that_is_resumed_before_its_moment_fires(self):
        once = timer(at=NOON + 8 * MINUTE, since=self.RESUMED)
        (decision,) = slots.decide(once, NOON + 8 * MINUTE - 1, NOON + 8 * MINUTE)
        assert decision.outcome is FireOutcome.FIRED

    def test_jitter_counts_a_slot_to_the_pause_by_when_it_would_have_fired(self):
        spread = timer(every=MINUTE, jitter=MINUTE)
        _, due = next(slots.dues_after(spread, NOON))
        assert slots.decide(timer(every=MINUTE, jitter=MINUTE, enabled=False, since=due), NOON, due + MINUTE) == []
        before, *_ = slots.decide(timer(every=MINUTE, jitter=MINUTE, since=due), NOON, due)
        after, *_ = slots.decide(timer(every=MINUTE, jitter=MINUTE, since=due + 1), NOON, due)
        assert (before.outcome, after.outcome) == (FireOutcome.FIRED, FireOutcome.SKIPPED)


@given(
    every=st.integers(200, 10 * MINUTE),
    gap=st.integers(0, 6 * HOUR),
    misfire=st.sampled_from(Misfire),
    limit=st.integers(1, 1000),
    max_late=st.none() | st.integers(0, HOUR),
    jitter=st.integers(0, 100),
)
def test_no_slot_is_missing_and_none_has_two_outcomes(every, gap, misfire, limit, max_late, jitter):
    some = timer(every=every, misfire=misfire, catch_up_limit=limit, max_late=max_late, jitter=jitter)
    now, after, decided = NOON + gap, NOON, []
    while made := slots.decide(some, after, now):
        decided += made
        after = made[-1].last
    accounted = [slot for one in decided for slot in range(one.slot, one.last + 1, every)]
    dues = dict(islice(slots.dues_after(some, NOON), gap // every + 1))
    owed = [slot for slot in range(NOON + every, now + 1, every) if dues[slot] <= now]
    assert accounted == owed
    assert all(one.count == (one.last - one.slot) // every + 1 for one in decided)
    late = [one for one in decided if one.outcome is FireOutcome.LATE]
    assert all(one.late_by > slots.LATE_MS and (max_late is None or one.late_by <= max_late) for one in late)
    assert len(late) <= {"skip": 0, "fire_once": 1, "catch_up": limit}[misfire]
