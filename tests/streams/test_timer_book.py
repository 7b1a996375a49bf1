"""When timers are due, with the clock as an argument."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Task, Template, Timer
from streams import slots
from streams.errors import TimerError
from streams.timer_book import TimerBook

NOON = int(datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("UTC")).timestamp() * 1000)
HOUR = 3_600_000


def timer(timer_id="t", **fields) -> Timer:
    fields.setdefault("template", Template(task=Task(kind="cron.parse")))
    return Timer(id=timer_id, owner="ada", tenant="ada", **{"created_at": NOON, **fields})


def local(slot: int, zone: str) -> str:
    return datetime.fromtimestamp(slot / 1000, ZoneInfo(zone)).isoformat()


class TestSlots:
    def test_a_one_off_has_one(self):
        assert slots.next_slot(timer(at=NOON + 5), NOON) == NOON + 5
        assert slots.next_slot(timer(at=NOON + 5), NOON + 5) is None

    @given(every=st.integers(1, 10**9), after=st.integers(0, 10**10))
    def test_an_interval_counts_from_when_it_was_made(self, every, after):
        slot = slots.next_slot(timer(every=every), NOON + after)
        assert (slot - NOON) % every == 0
        assert 0 < slot - (NOON + after) <= every

    def test_cron_is_in_its_zone_across_the_change_to_summer_time(self):
        daily = timer(cron="30 8 * * *", tz="Europe/Berlin")
        first = slots.next_slot(daily, NOON)
        second = slots.next_slot(daily, first)
        assert local(first, "Europe/Berlin") == "2026-03-29T08:30:00+02:00"
        assert second - first == 24 * HOUR

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({}, "at"),
            ({"at": 1, "every": 1}, "at"),
            ({"every": 0}, "every"),
            ({"cron": "61 * * * *"}, "cron"),
            ({"cron": "* * * * *", "tz": "Mars/Base"}, "tz"),
            ({"cron": "* * * * *", "tz": "../etc"}, "tz"),
            ({"at": 1, "template": Template()}, "template"),
        ],
    )
    def test_what_means_nothing_is_refused_by_field(self, fields, field):
        with pytest.raises(TimerError) as caught:
            slots.check(timer(**fields))
        assert caught.value.field == field


class TestTimerBook:
    def test_the_earliest_is_due_first(self):
        book = TimerBook()
        for name, at in (("b", 20), ("a", 10), ("c", 30)):
            book.put(0, timer(name, at=NOON + at))
        assert book.next_due() == NOON + 10
        assert book.pop_due(NOON + 9) is None
        order = []
        while due := book.pop_due(NOON + 30):
            order.append(due[0].id)
            book.remove(due[0].id)
        assert order == ["a", "b", "c"]

    def test_a_slot_is_due_until_it_is_accounted_for(self):
        book = TimerBook()
        book.put(0, timer(every=HOUR))
        assert book.pop_due(NOON + HOUR) == book.pop_due(NOON + HOUR)
        book.account("t", NOON + HOUR)
        assert book.next_due() == NOON + 2 * HOUR

    def test_a_state_read_before_its_timer_counts(self):
        book = TimerBook()
        book.account("t", NOON + 5 * HOUR)
        book.put(0, timer(every=HOUR))
        assert book.next_due() == NOON + 6 * HOUR

    def test_a_one_off_that_is_past_when_it_is_made_is_due(self):
        book = TimerBook()
        book.put(0, timer(at=NOON - HOUR))
        assert book.next_due() == NOON - HOUR

    def test_a_new_revision_replaces_the_old_one(self):
        book = TimerBook()
        book.put(0, timer(at=NOON + 10))
        book.put(0, timer(at=NOON + 50, revision=2))
        assert book.next_due() == NOON + 50
        book.put(0, timer(at=NOON + 60, revision=3, enabled=False))
        assert book.next_due() is None

    def test_a_lost_partition_takes_its_timers_along(self):
        book = TimerBook()
        book.put(0, timer("mine", at=NOON + 50))
        book.put(1, timer("lost", at=NOON + 10))
        book.drop_partition(1)
        assert book.next_due() == NOON + 50
