"""The folds of the projection: any order, any repeats, the same state."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from connectors import schedule_views, views
from connectors.state import MAX_FIRES, Place, accounted, fold, fold_timer
from schemas.records import Fire, FireOutcome, Status, Task, TaskEvent, Template, Timer
from schemas.tiers import Tier

ENDS = [Status.SUCCEEDED, Status.FAILED, Status.EXPIRED, Status.CANCELLED]


def task(attempt=1):
    return Task(
        id="t", key="k", kind="llm.chat", tier=Tier.URGENT, owner="ann", tenant="acme", root_id="t", attempt=attempt,
        created_at=1_000, start_by=2_000, deadline=3_000,
    )  # fmt: skip


def event(status, attempt=1):
    return TaskEvent(
        task_id="t", key="k", kind="llm.chat", tier=Tier.URGENT, owner="ann", tenant="acme", root_id="t",
        status=status, attempt=attempt, at=1_500, worker="w",
    )  # fmt: skip


def folded(records):
    state = None
    for record, place in records:
        state = fold(state, record, place)
    return state


@st.composite
def histories(draw):
    """Records of one task at distinct places, as several workers may write them."""
    records = [(task(n), Place("tasks", 0, n)) for n in draw(st.sets(st.integers(1, 4)))]
    for offset in draw(st.sets(st.integers(0, 20), max_size=8)):
        status = draw(st.sampled_from(list(Status)))
        records.append((event(status, draw(st.integers(1, 4))), Place("results", 0, offset)))
    return records


@given(histories().filter(bool), st.data())
def test_order_and_repeats_change_nothing(records, data):
    shuffled = data.draw(st.permutations(records + data.draw(st.lists(st.sampled_from(records)))))
    assert folded(shuffled) == folded(records)


@given(histories().filter(bool))
def test_the_first_end_wins_and_the_first_record_is_the_receipts(records):
    state = folded(records)
    ends = [
        (place.offset, record) for record, place in records if isinstance(record, TaskEvent) and record.status in ENDS
    ]
    if ends:
        assert state.latest == min(ends, key=lambda end: end[0])[1]
    firsts = [(record.attempt, place) for record, place in records if isinstance(record, Task)]
    assert (state.accepted and (state.accepted.attempt, state.accepted.place)) == min(firsts, default=None)


def test_the_task_of_a_state_is_what_events_need():
    state = folded([(task(), Place("tasks", 0, 5)), (event(Status.RETRYING, 2), Place("results", 0, 9))])
    assert state.task() == task(attempt=2)
    assert state.began == 1_000
    assert folded([(event(Status.STARTED), Place("results", 0, 9))]).began == 1_500


def test_a_state_of_any_event_can_be_shown():
    """States that were folded before strange records were passed over are still read."""
    strange = msgspec.structs.replace(event(Status.SUCCEEDED), at=10**17, result=b"no document")
    far = msgspec.structs.replace(task(), created_at=-(10**17), deadline=10**30)
    shown = views.task_state(folded([(far, Place("tasks", 0, 0)), (strange, Place("results", 0, 0))]))
    assert (shown.status, shown.updated_at, shown.created_at, shown.deadline, shown.result) == (
        "succeeded", None, None, None, None,
    )  # fmt: skip
    assert shown.start_by is not None


def timer(revision=1):
    template = Template(task=Task(kind="cron.parse"))
    return Timer(id="x", owner="ann", tenant="acme", template=template, created_at=1, revision=revision, every=5)


@given(st.data())
def test_a_schedules_fold_knows_no_order_either(data):
    records = [(timer(n), Place("timers", 0, n)) for n in data.draw(st.sets(st.integers(0, 9)))]
    if (tombstone := data.draw(st.none() | st.integers(0, 9))) is not None:
        records = [row for row in records if row[1].offset != tombstone] + [(None, Place("timers", 0, tombstone))]
    for offset in data.draw(st.sets(st.integers(0, 9))):
        fire = Fire(timer_id="x", slot=data.draw(st.integers(0, 5)), outcome=FireOutcome.FIRED, at=offset)
        records.append((fire, Place("fired", 0, offset)))
    if not records:
        return

    def state_of(rows):
        state = None
        for record, place in rows:
            state = fold_timer(state, "x", record, place)
        return state

    state = state_of(records)
    repeats = data.draw(st.lists(st.sampled_from(records)))
    assert state_of(data.draw(st.permutations(records + repeats))) == state
    revisions = [place.offset for record, place in records if isinstance(record, Timer)]
    assert state.active == (bool(revisions) and max(revisions) > (-1 if tombstone is None else tombstone))
    for fired in state.fires:
        assert fired.offset == min(
            place.offset for record, place in records if isinstance(record, Fire) and record.slot == fired.fire.slot
        )


def test_a_schedule_keeps_its_latest_fires():
    state = None
    for slot in range(MAX_FIRES + 50):
        fire = Fire(timer_id="x", slot=slot, outcome=FireOutcome.FIRED, at=slot)
        state = fold_timer(state, "x", fire, Place("fired", 0, slot))
    assert [fired.fire.slot for fired in state.fires] == list(range(50, MAX_FIRES + 50))


def fired(slot, to=None, count=1):
    outcome = FireOutcome.FIRED if to is None else FireOutcome.SKIPPED
    return Fire(timer_id="x", slot=slot, outcome=outcome, at=0, to_slot=to, count=count)


def folded_fires(fires):
    state = None
    for offset, fire in fires:
        state = fold_timer(state, "x", fire, Place("fired", 0, offset))
    return state


def test_slots_that_were_told_of_are_taken_off_a_range():
    state = folded_fires(enumerate([fired(10), fired(10, 50, 5), fired(30), fired(60), fired(60), fired(10, 80, 8)]))
    shown = [(fire.slot, fire.to_slot, fire.count) for fire in accounted(state.fires)]
    assert shown == [(10, None, 1), (10, 50, 4), (10, 80, 2), (60, None, 1)]
    view = schedule_views.schedule(state, []).fires[1]
    assert (view.slot, view.to, view.count) == ("1970-01-01T00:00:00.010Z", "1970-01-01T00:00:00.050Z", 4)


@given(st.data())
def test_each_slot_of_a_schedule_counts_once(data):
    """Fires as a timer writes them that may die after any: from a slot on that it has not written down yet."""
    fires, saved, latest = [], 0, 0
    for _ in range(data.draw(st.integers(1, 6))):
        last = data.draw(st.integers(1, 4)) + max(saved, latest)
        some = [fired(slot) for slot in range(saved + 1, last + 1)]
        if data.draw(st.booleans()):
            some = [fired(saved + 1, last, last - saved)]
        fires += some
        latest = max(latest, last)
        saved = data.draw(st.sampled_from([saved, latest]))
    rows = data.draw(st.permutations(list(enumerate(fires))))
    assert sum(fire.count for fire in accounted(folded_fires(rows).fires)) == latest
