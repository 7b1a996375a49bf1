"""Which timer is due next, with the clock as an argument."""

from __future__ import annotations

from schemas.records import Fire, FireOutcome, TimerState
from streams.timer_book import TimerBook
from tests.backbone.test_slots import HOUR, NOON, timer


def fire_all(book: TimerBook, now: int) -> list[tuple[str, int]]:
    """Take and account for all that is due, as (timer, when it was due)."""
    fired = []
    while (due := book.next_due()) is not None and due <= now:
        taken, entry = book.take(now)
        fired.append((taken.id, due))
        entry.last = due
        book.give_back(taken.id, entry)
    return fired


def test_the_earliest_is_due_first():
    book = TimerBook()
    for name, at in (("b", 20), ("a", 10), ("c", 30)):
        book.put(0, timer(name, at=NOON + at))
    assert book.take(NOON + 9) is None
    assert fire_all(book, NOON + 30) == [("a", NOON + 10), ("b", NOON + 20), ("c", NOON + 30)]


def test_a_timer_that_is_being_fired_is_not_due_again_until_it_is_given_back():
    book = TimerBook()
    book.put(0, timer(every=HOUR))
    taken, entry = book.take(NOON + HOUR)
    assert book.take(NOON + HOUR) is None
    book.give_back(taken.id, entry)
    assert book.next_due() == NOON + HOUR
    assert fire_all(book, NOON + 2 * HOUR) == [("t", NOON + HOUR), ("t", NOON + 2 * HOUR)]


def test_a_state_that_was_read_before_its_timer_counts():
    book = TimerBook()
    book.restore(0, TimerState(id="t", last_slot=NOON + 5 * HOUR, revision=1))
    assert book.next_due() is None
    book.put(0, timer(every=HOUR))
    assert book.next_due() == NOON + 6 * HOUR


def test_what_was_decided_and_may_not_be_done_is_due_first():
    book = TimerBook()
    decided = Fire(timer_id="t", slot=NOON + HOUR, at=NOON + HOUR, outcome=FireOutcome.FIRED)
    book.restore(0, TimerState(id="t", last_slot=NOON, revision=1, firing=decided))
    book.put(0, timer(every=HOUR))
    _, entry = book.take(NOON + 9 * HOUR)
    assert entry.firing == decided
    entry.last, entry.firing = NOON + HOUR, None
    book.give_back("t", entry)
    assert book.next_due() == NOON + 2 * HOUR


def test_a_timer_that_was_made_anew_owes_nothing_of_the_old_one():
    book = TimerBook()
    book.restore(0, TimerState(id="t", last_slot=NOON, revision=1))
    book.put(0, timer(every=HOUR, created_at=NOON + 100 * HOUR))
    assert book.next_due() == NOON + 101 * HOUR


def test_a_one_off_that_is_past_when_it_is_made_is_due():
    book = TimerBook()
    book.put(0, timer(at=NOON - HOUR))
    assert book.next_due() == NOON - HOUR


def test_a_new_revision_replaces_the_old_one():
    book = TimerBook()
    book.put(0, timer(at=NOON + 10))
    book.put(0, timer(at=NOON + 50, revision=2))
    assert book.next_due() == NOON + 50
    book.put(0, timer(at=NOON + 60, revision=3, enabled=False))
    assert book.next_due() is None


def test_a_timer_that_is_removed_while_it_is_fired_stays_removed():
    book = TimerBook()
    book.put(0, timer(every=HOUR))
    taken, entry = book.take(NOON + HOUR)
    book.remove("t")
    entry.last = NOON + HOUR
    book.give_back(taken.id, entry)
    assert book.next_due() is None


def test_nothing_fires_while_its_partition_is_still_being_read():
    book = TimerBook()
    book.loading(0)
    book.put(0, timer("removed later", at=NOON))
    book.put(0, timer("kept", at=NOON + 5))
    book.put(1, timer("another partition's", at=NOON + 9))
    assert book.next_due() == NOON + 9
    book.remove("removed later")
    book.loaded(0)
    assert book.next_due() == NOON + 5


def test_a_lost_partition_takes_its_timers_along():
    book = TimerBook()
    book.put(0, timer("mine", at=NOON + 50))
    book.put(1, timer("lost", at=NOON + 10))
    book.drop_partition(1)
    assert book.next_due() == NOON + 50


def test_an_older_state_that_was_written_late_takes_nothing_back():
    book = TimerBook()
    book.put(0, timer(every=HOUR))
    for slot in (NOON + 5 * HOUR, NOON + 3 * HOUR):
        book.restore(0, TimerState(id="t", last_slot=slot, revision=1))
    assert book.next_due() == NOON + 6 * HOUR
