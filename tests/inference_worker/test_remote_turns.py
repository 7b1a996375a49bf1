"""Who asks the server next: as many as may, urgent's part kept free, owners in turns, low never starved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.admission import LOW_EVERY
from inference_worker.kv_cache import LOW, reserve
from inference_worker.remote.turns import Turns
from tests.inference_worker.test_remote_body import chat, run_of

if TYPE_CHECKING:
    from inference_worker.remote.run import RemoteRun


def _run(rank: int, owner: str = "me", deadline: int = 100) -> RemoteRun:
    run = run_of(chat(), deadline=deadline)
    run.rank, run.owner = rank, owner
    return run


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=80),
)
def test_places_and_reserve_are_kept_and_nobody_waits_where_there_is_room(slots, arrivals):
    turns, running, waiting = Turns(slots), [], []
    for rank, owner, deadline, ends in arrivals:
        one = _run(rank, owner, deadline)
        turns.add(one)
        waiting.append(one)
        if ends and running:
            turns.leave(running.pop(0))
        for begun in turns.begin():
            waiting.remove(begun)
            running.append(begun)
        below = [one for one in running if one.rank > 0]
        assert len(running) <= slots
        assert len(below) <= slots - reserve(slots, 1)
        for one in waiting:
            full = len(running) == slots or (one.rank and len(below) >= slots - reserve(slots, one.rank))
            higher = any(other.rank < one.rank for other in waiting)
            assert full or higher, "room, and nobody begins"
    for one in (*running, *waiting):
        turns.leave(one)
    assert not list(turns.begin())


@given(st.integers(1, 12), st.sampled_from([0, 1, 2]))
def test_low_begins_once_in_twenty_whatever_flood_there_is(slots, flood):
    turns = Turns(slots)
    turns.add(_run(LOW))
    for _ in range(60):
        turns.add(_run(flood))
    order, running = [], []
    for _ in range(60):
        for one in turns.begin():
            order.append(one.rank)
            running.append(one)
        turns.leave(running.pop(0))
    assert order.index(LOW) <= LOW_EVERY


def test_an_owner_who_was_served_less_goes_first():
    turns = Turns(1)
    first = _run(2, "busy")
    turns.add(first)
    assert list(turns.begin()) == [first]
    turns.spoke(first, 5_000)
    soon, patient = _run(2, "busy", deadline=1), _run(2, "other", deadline=50)
    turns.add(soon)
    turns.add(patient)
    turns.leave(first)
    assert list(turns.begin()) == [patient]
