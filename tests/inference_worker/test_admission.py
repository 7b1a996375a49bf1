"""Admission, held against its promises over random and adversarial arrivals; the world asserts them after every step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_worker.admission import LOW_EVERY
from inference_worker.kv_cache import LOW, Bounds, places_for, reserve
from inference_worker.waiting import QUANTUM
from tests.inference_worker.admission_world import BUDGET, World, bounds

URGENT, REALTIME, BATCH = 0, 1, 2
CONTEXT = 64

arrivals = st.lists(
    st.tuples(
        st.integers(0, 3),  # steps since the one before
        st.integers(0, 3),  # tier
        st.integers(1, 40),  # prompt
        st.integers(1, 24),  # answer
        st.one_of(st.just(10**6), st.integers(1, 400)),  # deadline
        st.sampled_from(["ada", "bob", "cyd"]),
    ),
    max_size=40,
)
sizes = st.builds(bounds, st.integers(1, 6), st.just(CONTEXT), st.integers(0, 700))


@given(arrivals, sizes, st.booleans(), st.randoms(use_true_random=False))
def test_every_promise_holds_over_random_arrivals(requests, size, fixed, random):
    world = World(size, fixed=fixed)
    for pause, rank, prompt, limit, deadline, owner in requests:
        for _ in range(pause):
            world.step()
        if world.present and random.random() < 0.1:
            world.end(random.choice(list(world.present.values())))  # cancelled
        world.add(rank, prompt, limit, deadline=world.now + deadline, owner=owner)
    world.run()


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 2, 3, 8])
@pytest.mark.parametrize("prompt", [1, 60])
def test_low_has_its_share_against_a_flood_of_urgent(slots, prompt):
    world = World(bounds(slots))
    lows = [world.add(LOW, prompt, 4) for _ in range(3)]
    for _ in range(1500):
        for _ in range(2):
            world.add(URGENT, 5, 10)
        world.step()
    assert all(one in world.ended for one in lows)


@pytest.mark.parametrize("begun", [False, True])
def test_low_that_was_interrupted_waits_too(begun):
    world = World(bounds(2))
    low = world.add(LOW, 8, 40)
    for _ in range(3 * begun):
        world.step()
    before = len(low.answer)
    for _ in range(10 * LOW_EVERY):
        world.add(URGENT, 30, 30)
        world.step()
    assert low.paused
    assert len(low.answer) - before >= 8


def test_urgent_pauses_the_last_in_order_and_it_goes_on_where_it_was():
    world = World(bounds(2))
    early = world.add(BATCH, limit=20, deadline=500)
    late = world.add(BATCH, limit=20, deadline=900)
    world.step()
    world.step()
    urgent = world.add(URGENT, limit=3)
    assert world.step().paused == [late]
    assert (late.paused, early.paused) == (True, False)
    held, cached = late.slot, late.cached
    while urgent in world.present.values():
        world.step()
    assert (late.slot, late.cached) == (held, cached)
    world.run()
    assert world.interruptions == [late]
    assert len(late.answer) == 20


def test_urgent_evicts_where_places_are_short_and_what_it_evicts_is_computed_anew():
    world = World(bounds(4))  # five places, and low's
    batches = [world.add(BATCH, prompt=9, limit=20, deadline=1000 + n) for n in range(3)]
    for _ in range(5):
        world.step()
    said = [list(one.answer) for one in batches]
    for _ in range(3):
        world.add(URGENT, limit=6)
    step = world.step()
    assert (step.evicted, set(map(id, step.paused))) == ([batches[2]], {id(batches[1]), id(batches[2])})
    assert (batches[2].slot, batches[2].cached) == (-1, 0)
    world.run()
    for batch, before in zip(batches, said, strict=True):
        assert len(batch.answer) == 20
        assert batch.answer[: len(before)] == before
        assert batch.served == batch.cached


def test_urgent_evicts_where_memory_is_short_and_no_more_than_it_needs():
    world = World(bounds(4, CONTEXT, 3 * CONTEXT))  # two sequences' worth, and low's
    batches = [world.add(BATCH, prompt=25, limit=30, deadline=1000 + n) for n in range(2)]
    world.step()
    urgent = world.add(URGENT, prompt=60, limit=4)
    assert world.step().evicted == []
    assert urgent.slot >= 0
    another = world.add(URGENT, prompt=30, limit=4, deadline=10)
    assert world.step().evicted == [batches[1]]
    assert another.slot >= 0
    world.run()


def test_who_was_evicted_stays_away_until_another_has_ended_though_there_is_room_before():
    world = World(bounds(2, CONTEXT, 2 * CONTEXT))  # one sequence's worth, and low's
    batch = world.add(BATCH, prompt=14, limit=5)
    world.step()
    urgent = world.add(URGENT, prompt=20, limit=40)
    assert world.step().evicted == [batch]  # for room to grow by, which is there for a while
    while urgent not in world.ended:
        assert batch.slot < 0
        world.step()
    world.run()
    assert world.interruptions == [batch]


def test_low_keeps_its_own_where_giving_it_up_would_help_nobody():
    world = World(bounds(4, CONTEXT, 2 * CONTEXT))
    low, batch = world.add(LOW, prompt=30, limit=20), world.add(BATCH, prompt=20, limit=20)
    for _ in range(6):
        world.step()
    world.add(URGENT, prompt=60, limit=4)
    assert world.step().evicted == [batch]
    assert low.slot >= 0
    world.run()


def test_nobody_but_urgent_interrupts_anybody():
    world = World(bounds(2))
    for _ in range(2):
        world.add(LOW, limit=20)
    world.step()
    for rank in (REALTIME, BATCH) * 10:
        world.add(rank, limit=5)
    world.run()
    assert not world.interruptions


def test_a_place_that_is_only_waited_in_goes_to_a_higher_tier():
    world = World(bounds(4, CONTEXT, 4 * CONTEXT))
    lows = [world.add(LOW, prompt=40, limit=20, deadline=1000 + n) for n in range(3)]
    for _ in range(9):
        world.step()
    for limit in (3, 3, 30):
        world.add(URGENT, prompt=1, limit=limit)
    assert world.step().paused == [lows[2], lows[1]]
    while len(world.ended) < 2:
        world.step()
    realtime = [world.add(REALTIME, prompt=50, limit=9) for _ in range(2)]
    step = world.step()
    assert step.started == realtime
    assert step.evicted == [lows[2]]
    world.run()


@given(sizes.filter(lambda size: size.slots > 1), st.lists(st.integers(1, 3), min_size=1, max_size=30))
def test_what_is_kept_for_urgent_is_left_by_the_others(size, ranks):
    world = World(size)
    for rank in ranks:
        world.add(rank, 10, 20)
    for _ in range(30):
        world.step()
    interrupted = len(world.interruptions)
    urgents = [world.add(URGENT, 4, 4) for _ in range(reserve(size.slots, 1))]
    step = world.step()
    assert set(map(id, urgents)) <= set(map(id, step.started))
    assert len(world.interruptions) - interrupted == len(step.evicted)


def test_a_fifth_is_kept_for_urgent_and_realtime_may_borrow_half_of_it():
    assert [reserve(8, rank) for rank in range(4)] == [0, 1, 2, 2]
    assert [reserve(1, rank) for rank in range(4)] == [0, 0, 0, 0]
    for rank, most in [(URGENT, 10), (REALTIME, 9), (BATCH, 8), (LOW, 8)]:
        world = World(bounds(10))
        for _ in range(20):
            world.add(rank, limit=30)
        world.step()
        assert len(world.running) == most


def test_slots_go_by_tier_then_deadline():
    world = World(bounds(1))
    wanted = [(3, 900), (2, 700), (2, 600), (1, 800), (1, 800)]
    third, second, first = ([world.add(rank, deadline=at) for rank, at in wanted if rank == tier] for tier in (3, 2, 1))
    world.run()
    assert [one for one in world.started if one.rank < LOW] == [*first, second[1], second[0]]
    assert third[0] in world.started


def test_an_owner_with_one_request_does_not_wait_for_one_with_a_hundred():
    world = World(bounds(4))
    for n in range(100):
        world.add(BATCH, limit=20, owner="greedy", deadline=1000 + n)
    for _ in range(10):
        world.step()
    one = world.add(BATCH, limit=20, owner="modest", deadline=10**5)
    places = len(world.ended)
    while one not in world.started:
        world.step()
    assert len(world.ended) - places <= 3  # the first that ended made room; the others ended in the same step


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=2, max_size=3), st.integers(1, 4))
@settings(max_examples=25)
def test_owners_who_always_want_more_are_served_alike(kinds, slots):
    """Each owner's requests have a size of their own; the first has ten of them for each of the others', and asks sooner."""
    world = World(bounds(slots), budget=64)
    hundreds = [
        world.add(BATCH, prompt, limit, owner=str(owner), deadline=10**6 + owner)
        for owner, (prompt, limit) in enumerate(kinds)
        for _ in range(40 * (10 if owner == 0 else 1))
    ]

    def served() -> list[int]:
        return [sum(one.served for one in hundreds if one.owner == str(owner)) for owner in range(len(kinds))]

    while all(any(not one.started for one in hundreds if one.owner == str(owner)) for owner in range(len(kinds))):
        world.step()
    longest = max(prompt + limit for prompt, limit in kinds)
    assert max(served()) - min(served()) <= 2 * QUANTUM + slots * (QUANTUM + longest)


@pytest.mark.parametrize("been_before", [False, True])
def test_who_comes_late_has_no_claim_on_what_others_got_before(been_before):
    world = World(bounds(2))
    for n in range(100):
        world.add(BATCH, prompt=30, limit=20, owner="long there", deadline=100_000 + n)
    if been_before:
        world.add(BATCH, prompt=1, limit=1, owner="new", deadline=1000)
    for _ in range(500):
        world.step()
    for n in range(60):
        world.add(BATCH, prompt=30, limit=20, owner="new", deadline=100_000 + n)
    before = len(world.started)
    for _ in range(300):
        world.step()
    after = [one.owner for one in world.started[before:]]
    assert abs(after.count("new") - after.count("long there")) <= 12


@pytest.mark.parametrize("started", [False, True])
def test_nothing_runs_past_its_time(started):
    world = World(bounds(1))
    first = world.add(URGENT, limit=50, deadline=20)
    other = world.add(URGENT, limit=50, start_by=5)
    for _ in range(30):
        world.step()
    assert world.expired == [other, first]
    assert (first.served > 0, other.served) == (True, 0)


def test_a_start_in_time_is_a_start():
    world = World(bounds(1))
    request = world.add(URGENT, limit=50, start_by=5)
    world.run()
    assert not world.expired
    assert len(request.answer) == 50


def test_a_long_prompt_takes_the_budget_and_no_more():
    world = World(bounds(4))
    decoding = world.add(BATCH, prompt=1, limit=50)
    world.step()
    long = world.add(REALTIME, prompt=60, limit=2)
    for n in range(1, 4):
        step = world.step()
        assert {work.slot for work in step.works} == {decoding.slot, long.slot}
        assert long.cached == n * BUDGET


def test_prompts_of_lower_tiers_wait_while_those_of_urgent_are_computed():
    world = World(bounds(6))
    decoding = world.add(BATCH, prompt=1, limit=50)
    world.step()
    long = world.add(BATCH, prompt=60, limit=2)
    urgent = [world.add(URGENT, prompt=4, limit=2) for _ in range(2)]
    step = world.step()
    assert {work.slot for work in step.works} == {decoding.slot, *(one.slot for one in urgent)}
    assert long.cached == 0
    world.step()
    assert long.cached == BUDGET


def test_the_cache_is_counted_by_tokens_and_not_by_places():
    """Room for three full ones: one is low's, and the others share four fifths of two."""
    tight = Bounds(8, places_for(8), CONTEXT, 3 * CONTEXT)
    world = World(tight)
    for _ in range(20):
        world.add(BATCH, prompt=10, limit=2)
    world.step()
    assert len(world.running) == 6 == tight.slots - reserve(tight.slots, BATCH)
    world.run()
    long = World(tight)
    for _ in range(20):
        long.add(BATCH, prompt=50, limit=14)
    long.step()
    assert len(long.running) == 1
    long.run()


def test_memory_that_runs_short_is_taken_from_the_last_in_order():
    world = World(Bounds(8, places_for(8), CONTEXT, 3 * CONTEXT))
    requests = [world.add(BATCH, prompt=1, limit=60, deadline=1000 + n) for n in range(3)]
    while not world.interruptions:
        world.step()
    assert world.interruptions == [requests[2]]
    world.run()
    assert [one.deadline for one in world.ended] == [1000, 1001, 1002]
