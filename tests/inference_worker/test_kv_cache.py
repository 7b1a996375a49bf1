"""The books of the cache, and the bounds that a runner and the settings make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.errors import CacheTooSmallError
from inference_worker.kv_cache import LOW, URGENT, Bounds, KvCache, places_for
from tests.inference_worker.admission_world import bounds
from tests.inference_worker.test_engine import Arithmetic

BATCH = 2


@pytest.mark.parametrize(("slots", "places"), [(1, 3), (2, 4), (8, 11), (16, 21)])
def test_there_are_places_for_those_that_run_a_quarter_more_and_one_of_lows(slots, places):
    assert places_for(slots) == places


def test_bounds_are_the_runners_where_nothing_else_is_said():
    runner = Arithmetic(slots=5)
    assert Bounds.of(runner) == Bounds(slots=4, places=5, context=4096, tokens=5 * 4096)
    assert Bounds.of(runner, slots=2).slots == 2
    assert Bounds.of(runner, slots=9).slots == 4
    assert Bounds.of(Arithmetic(slots=1)) == Bounds(slots=1, places=1, context=4096, tokens=4096)


def test_a_bound_in_bytes_is_a_bound_in_tokens():
    runner = Arithmetic(slots=5)
    runner.bytes_per_token = 100
    assert Bounds.of(runner, cache_bytes=1_000_099).tokens == 10_000
    assert Bounds.of(runner, cache_bytes=10**9).tokens == 5 * 4096


def test_a_bound_below_two_sequences_is_refused_and_says_what_to_do():
    runner = Arithmetic(slots=5)
    runner.bytes_per_token = 100
    assert Bounds.of(runner, cache_bytes=2 * 4096 * 100)
    with pytest.raises(CacheTooSmallError, match="819200 bytes") as caught:
        Bounds.of(runner, cache_bytes=2 * 4096 * 100 - 1)
    assert caught.value.field == "BARNABAS_INFERENCE_CACHE_BYTES"


@given(st.integers(1, 8), st.integers(0, 600), st.integers(0, 3), st.integers(1, 64))
def test_one_sequence_of_any_tier_always_fits_an_empty_cache(slots, tokens, rank, length):
    assert KvCache(bounds(slots, 64, tokens)).lack(rank, length, places=1) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 64))))
def test_whatever_others_hold_one_of_low_fits(held):
    cache = KvCache(bounds(4, 64, 200))
    books = cache.books()
    for rank, tokens in held:
        if cache.lack(rank, tokens, 1, books) == (0, 0):
            books.stay(rank, tokens)
    assert cache.lack(LOW, 64, 1, books) == (0, 0)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 64))))
def test_whatever_others_hold_a_fifth_is_left_to_urgent(held):
    cache = KvCache(Bounds(4, 100, 64, 64 + 1000))
    books = cache.books()
    for rank, tokens in held:
        if cache.lack(rank, tokens, 1, books) == (0, 0):
            books.stay(rank, tokens)
    realtime = any(rank == 1 for rank, _ in held)
    assert cache.lack(URGENT, 100 if realtime else 200, 1, books) == (0, 0)


def test_low_is_asked_to_leave_only_what_is_not_its_own():
    cache = KvCache(bounds(4, 64, 200))
    books = cache.books()
    books.stay(LOW, 60)
    assert cache.lack(URGENT, 136, 1, books) == (0, 0)
    books.stay(LOW, 60)
    assert cache.lack(URGENT, 136, 1, books) == (0, 56)
