"""Rates, by the real Valkey and its clock: rates are so slow here that what the machine takes is nothing beside them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr

from backbone.ids import new_id
from backbone.rate import Rate, RateLimiter
from backbone.redis import connect, key
from backbone.settings import Settings


@pytest.fixture
async def redis(settings):
    client = connect(settings)
    yield client
    await client.aclose()


@pytest.fixture
def limiter(redis, settings):
    return RateLimiter(redis, settings)


async def at_once(limiter, name, rate, turns, longest=1e9):
    return sorted(await asyncio.gather(*(limiter.take(name, rate, longest=longest) for _ in range(turns))))


@examples(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(interval=st.integers(1000, 100_000), burst=st.integers(1, 6), turns=st.integers(1, 12))
async def test_turns_come_evenly_after_a_burst(limiter, interval, burst, turns):
    waits = await at_once(limiter, new_id(), Rate(1 / interval, burst), turns)
    expected = [max(0, turn - burst + 1) * interval for turn in range(turns)]
    assert all(due - 60 <= wait <= due for wait, due in zip(waits, expected, strict=True))


async def test_who_would_wait_too_long_takes_no_turn(limiter):
    name, rate = new_id(), Rate(1 / 1000)
    waits = await at_once(limiter, name, rate, 5, longest=1500)
    # Two turns were taken, at 0 and 1000 s; all others are told when theirs would be, and move nothing on.
    assert [round(wait, -3) for wait in waits] == [0, 1000, 2000, 2000, 2000]


async def test_each_name_has_its_own_turns_and_each_process_the_same(redis, settings, limiter):
    one, rate = new_id(), Rate(1 / 1000)
    assert await limiter.take(one, rate, longest=9999) == 0
    assert await limiter.take(new_id(), rate, longest=9999) == 0
    assert await RateLimiter(redis, settings).take(one, rate, longest=9999) > 900


async def test_what_says_nothing_any_more_goes(redis, settings, limiter):
    name = new_id()
    await limiter.take(name, Rate(1 / 50, 4), longest=0)
    assert 0 < await redis.pttl(key(settings, f"rate:{name}")) <= 50_000


async def test_nothing_is_held_back_where_redis_is_away():
    away = connect(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    assert await at_once(RateLimiter(away, Settings()), "x", Rate(0.001), 3) == [0, 0, 0]
