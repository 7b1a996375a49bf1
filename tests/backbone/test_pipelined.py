"""Commands that go to Redis together: each gets its own answer, and none waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from backbone.ids import new_id
from backbone.pipelined import MOST, Pipelined, Script
from backbone.redis import connect
from backbone.settings import Settings


@pytest.fixture
async def redis(settings):
    client = connect(settings)
    yield client
    await client.aclose()


async def sent(redis, together) -> int:
    """How many round trips it takes: Redis counts the reads that it did."""
    before = (await redis.info("stats"))["total_reads_processed"]
    await together
    return (await redis.info("stats"))["total_reads_processed"] - before - 1


async def test_what_is_asked_for_at_once_goes_together_and_each_gets_its_own_answer(redis):
    pipelined = Pipelined(redis)
    prefix = new_id()
    many = [pipelined.call("SET", f"{prefix}{n}", n) for n in range(100)]
    assert await sent(redis, asyncio.gather(*many)) <= 2
    answers = await asyncio.gather(*(pipelined.call("GET", f"{prefix}{n}") for n in range(100)))
    assert answers == [str(n).encode() for n in range(100)]


async def test_more_than_fits_goes_in_several(redis):
    pipelined = Pipelined(redis)
    answers = await asyncio.gather(*(pipelined.call("ECHO", str(n)) for n in range(3 * MOST)))
    assert answers == [str(n).encode() for n in range(3 * MOST)]


async def test_a_refused_command_fails_alone(redis):
    pipelined = Pipelined(redis)
    name = new_id()
    good, bad, also_good = await asyncio.gather(
        pipelined.call("SET", name, "text"),
        pipelined.call("LPUSH", name, 1),
        pipelined.call("GET", name),
        return_exceptions=True,
    )
    assert (good, also_good) == (True, b"text")
    assert isinstance(bad, ResponseError)


async def test_a_server_that_does_not_know_a_script_learns_it(redis):
    pipelined = Pipelined(redis)
    script = Script(f"return {{KEYS[1], ARGV[1], '{new_id()}'}}")
    for _ in range(2):
        assert (await pipelined.run(script, ["a"], ["b"]))[:2] == [b"a", b"b"]


async def test_without_redis_all_who_wait_are_told():
    away = connect(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    pipelined = Pipelined(away)
    told = await asyncio.gather(*(pipelined.call("PING") for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [RedisConnectionError] * 3
    await away.aclose()


async def test_who_is_cancelled_while_waiting_does_not_disturb_the_others(redis):
    pipelined = Pipelined(redis)
    one, other = (asyncio.ensure_future(pipelined.call("ECHO", n)) for n in ("one", "other"))
    await asyncio.sleep(0)
    one.cancel()
    assert await other == b"other"
    assert one.cancelled()
    assert await pipelined.call("ECHO", "later") == b"later"
