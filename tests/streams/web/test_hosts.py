"""Turns at a host, on a real Valkey: each `Hosts` stands for a process, for they share nothing but that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from backbone.ids import new_id
from backbone.redis import connect, key
from streams.errors import BusyError
from streams.web.hosts import LONGEST_REST, Hosts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow


@pytest.fixture
async def processes(settings) -> AsyncIterator[tuple[Hosts, Hosts]]:
    clients = connect(settings), connect(settings)
    yield tuple(Hosts(settings, client) for client in clients)
    for client in clients:
        await client.aclose()


@pytest.fixture
def host() -> str:
    return f"{new_id()}.example"


async def test_a_host_is_asked_by_one_at_a_time_and_rests_between(processes, settings, redis, host):
    inside: list[int] = []
    served: list[int] = []

    async def one(process: int) -> None:
        async with processes[process].turn(host, 60):
            assert not inside
            assert not await redis.exists(key(settings, f"web.rest:{host}"))
            inside.append(process)
            await asyncio.sleep(0.001)
            served.append(inside.pop())

    await asyncio.gather(*(one(process) for process in (0, 1) for _ in range(8)))
    # Both processes come by turns, whatever each has in line.
    assert sorted(served) == [0] * 8 + [1] * 8
    assert set(served[:4]) == {0, 1}


async def test_hosts_do_not_wait_for_one_another(processes, host):
    async with processes[0].turn(host, 60), processes[0].turn(f"other.{host}", 60), processes[1].turn(f"{host}:81", 60):
        pass


async def test_a_turn_that_does_not_come_is_an_error_that_may_pass(processes, host):
    for waiting in processes:  # in the same process, and in another
        async with processes[0].turn(host, 60):
            with pytest.raises(BusyError) as caught:
                async with waiting.turn(host, 0.05):
                    pytest.fail("it is another's")
        assert (caught.value.field, caught.value.retryable) == ("url", True)
    async with processes[1].turn(host, 60):  # who gave up stands in nobody's way
        pass


async def test_a_host_that_asks_to_be_left_alone_is_by_all(processes, redis, settings, host):
    async with processes[0].turn(host, 60) as turn:
        turn.at_least(30)
        turn.at_least(10)
    for waiting in processes:
        with pytest.raises(BusyError, match="left alone") as caught:
            async with waiting.turn(host, 5):
                pytest.fail("it rests")
        assert 20 < caught.value.retry_after <= 30
    async with processes[0].turn(f"other.{host}", 60) as turn:
        turn.at_least(10**9)
    assert await redis.pttl(key(settings, f"web.rest:other.{host}")) <= LONGEST_REST * 1000


async def test_a_long_rest_is_not_made_shorter(processes, redis, settings, host):
    async with processes[0].turn(host, 60):
        await redis.set(key(settings, f"web.rest:{host}"), 1, px=30_000)
    assert await redis.pttl(key(settings, f"web.rest:{host}")) > 20_000


async def test_without_redis_a_process_keeps_to_its_own_line(settings, host):
    client = connect(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    alone = Hosts(settings, client)
    async with alone.turn(host, 60):
        with pytest.raises(BusyError):
            async with alone.turn(host, 0.05):
                pytest.fail("it is another's")
    await client.aclose()
