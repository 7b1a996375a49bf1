"""Which timer is due next, with the clock as an argument."""

from __future__ import annotations

from schemas.records import Fire, FireOutcome, TimerState
from streams.timer_book import FEW, TimerBook
from tests.backbone.test_slots import HOUR, NOON, timer


def fire_all(book: TimerBook, now: int) -> list[tuple[str, int]]:
    """Take and account for all that is due, as (timer, when it was due)."""
    fired = []
    while (due := book.next_due()) is not None and due <= now:
        (entry,) = book.take(now, 1)
        fired.append((entry.id, due))
        entry.last = due
        book.give_back(entry)
    return fired


def test_the_earliest_is_due_first():
    book = TimerBook()
    for name, at in (("b", 20), ("a", 10), ("c", 30)):
        book.put(0, timer(name, at=NOON + at))
    assert book.take(NOON + 9, 5) == []
    assert [entry.id for entry in book.take(NOON + 20, 5)] == ["a", "b"]
    assert fire_all(book, NOON + 30) == [("c", NOON + 30)]


def test_a_timer_that_is_being_fired_is_not_due_again_until_it_is_given_back():
    book = TimerBook()
    book.put(0, timer(every=HOUR))
    (entry,) = book.take(NOON + HOUR, 5)
    assert book.take(NOON + HOUR, 5) == []
    book.give_back(entry)
    assert book.next_due() == NOON + HOUR
    assert fire_all(book, NOON + 2 * HOUR) == [("t", NOON + HOUR), ("t", NOON + 2 * HOUR)]


def test_a_state_that_was_read_before_its_timer_counts():
    book = TimerBook()
    book.loading(0)
    book.restore(0, TimerState(id="t", last_slot=NOON + 5 * HOUR, revision=1))
    book.put(0, timer(every=HOUR))
    book.loaded(0)
    assert book.next_due() == NOON + 6 * HOUR


def test_what_was_decided_and_may_not_be_done_is_due_first():
    book = TimerBook()
    decided = Fire(timer_id="t", slot=NOON + HOUR, at=NOON + HOUR, outcome=FireOutcome.FIRED)
    book.restore(0, TimerState(id="t", last_slot=NOON, revision=1, firing=decided))
    book.put(0, timer(every=HOUR))
    (entry,) = book.take(NOON + 9 * HOUR, 5)
    assert entry.firing == decided
    entry.last, entry.firing = NOON + HOUR, None
    book.give_back(entry)
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
    (entry,) = book.take(NOON + HOUR, 5)
    book.remove(0, "t")
    entry.last = NOON + HOUR
    book.give_back(entry)
    assert book.next_due() is None
    assert len(book) == 0


def test_nothing_fires_while_its_partition_is_still_being_read():
    book = TimerBook()
    book.loading(0)
    book.put(0, timer("removed later", at=NOON))
    book.put(0, timer("kept", at=NOON + 5))
    book.put(1, timer("another partition's", at=NOON + 9))
    assert book.next_due() == NOON + 9
    book.remove(0, "removed later")
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


def test_a_late_account_does_not_undo_what_was_decided_of_the_next_slot():
    """An account of a slot that a stopped service wrote late says nothing new: the next slot's decision stays."""
    book = TimerBook()
    decided = Fire(timer_id="t", slot=NOON + 2 * HOUR, at=NOON, outcome=FireOutcome.LATE)
    book.restore(0, TimerState(id="t", last_slot=NOON + HOUR, revision=1, firing=decided))
    book.restore(0, TimerState(id="t", last_slot=NOON + HOUR, revision=1))
    book.put(0, timer(every=HOUR))
    (entry,) = book.take(NOON + 9 * HOUR, 5)
    assert entry.firing == decided


def test_a_timer_that_is_changed_over_and_over_is_planned_once():
    """Its due moments are a year away: what no longer holds would pile up until then."""
    book = TimerBook()
    for revision in range(10 * FEW):
        book.put(0, timer(at=NOON + 365 * 24 * HOUR - revision, revision=revision))
    assert len(book._heap) <= FEW + 3
    assert [entry.timer.revision for entry in book.take(NOON + 366 * 24 * HOUR, 5)] == [10 * FEW - 1]


class TestState:
    """The state of a timer goes with it: once, and only if there is one."""

    def test_of_a_removed_timer_is_due_to_go_at_once(self):
        book = TimerBook()
        book.put(0, timer(every=HOUR))
        book.restore(0, TimerState(id="t", last_slot=NOON, revision=1))
        book.remove(0, "t")
        (entry,) = book.take(NOON, 5)
        assert entry.timer is None
        entry.stored = False
        book.give_back(entry)
        assert len(book) == 0

    def test_of_a_timer_that_never_fired_there_is_none(self):
        book = TimerBook()
        book.put(0, timer(every=HOUR))
        book.remove(0, "t")
        assert (book.next_due(), len(book)) == (None, 0)

    def test_that_was_left_behind_is_due_to_go_once_its_partition_is_read(self):
        book = TimerBook()
        book.loading(0)
        book.restore(0, TimerState(id="left", last_slot=NOON, revision=1))
        book.restore(0, TimerState(id="gone before", last_slot=NOON, revision=1))
        book.forget_state(0, "gone before")
        assert book.take(NOON, 5) == []
        book.loaded(0)
        assert [entry.id for entry in book.take(NOON, 5)] == ["left"]

    def test_of_a_timer_whose_record_cannot_be_read_stays(self):
        book = TimerBook()
        book.loading(0)
        book.restore(0, TimerState(id="t", last_slot=NOON, revision=1))
        book.put_unread(0, "t")
        book.loaded(0)
        assert book.next_due() is None
        book.put(0, timer(every=HOUR))
        assert book.next_due() == NOON + HOUR

    def test_of_a_timer_that_is_made_again_while_it_goes_is_as_of_a_new_one(self):
        book = TimerBook()
        book.put(0, timer(every=HOUR))
        book.restore(0, TimerState(id="t", last_slot=NOON + 5 * HOUR, revision=1))
        book.remove(0, "t")
        (entry,) = book.take(NOON, 5)
        book.put(0, timer(every=HOUR))
        entry.last, entry.stored = None, False
        book.give_back(entry)
        assert book.next_due() == NOON + HOUR


def test_a_one_off_that_is_moved_after_it_was_fired_fires_again():
    book = TimerBook()
    book.put(0, timer(at=NOON))
    assert fire_all(book, NOON) == [("t", NOON)]
    book.put(0, timer(at=NOON - HOUR, revision=2))
    assert fire_all(book, NOON) == [("t", NOON - HOUR)]


def test_a_paused_timer_is_due_again_with_what_it_missed_once_it_is_resumed():
    book = TimerBook()
    book.put(0, timer(every=HOUR))
    book.put(0, timer(every=HOUR, revision=2, enabled=False, since=NOON + 90 * 60_000))
    assert fire_all(book, NOON + 9 * HOUR) == [("t", NOON + HOUR)]
    book.put(0, timer(every=HOUR, revision=3, since=NOON + 9 * HOUR))
    assert book.next_due() == NOON + 2 * HOUR
