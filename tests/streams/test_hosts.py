"""Turns at a host, on a real Valkey: each `Hosts` stands for a process, for they share nothing but that."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from backbone.ids import new_id
from backbone.redis import connect, key
from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from streams.errors import BusyError
from streams.fetch import Fetcher
from streams.hosts import Hosts
from tests.contracts.web_server import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
async def valkey(tmp_path_factory) -> AsyncIterator[LocalStack]:
    settings = Settings(home=tmp_path_factory.mktemp("hosts") / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("valkey",)) as running:
        yield running


@pytest.fixture
def settings(valkey) -> Settings:
    return valkey.settings.model_copy(update={"host_pause": timedelta(milliseconds=20)})


@pytest.fixture
async def processes(settings) -> AsyncIterator[tuple[Hosts, Hosts]]:
    pair = Hosts(settings), Hosts(settings)
    yield pair
    for hosts in pair:
        await hosts.aclose()


@pytest.fixture
def host() -> str:
    return f"{new_id()}.example"


async def test_a_host_is_asked_by_one_at_a_time_and_rests_between(processes, settings, host):
    redis = connect(settings)
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
    await redis.aclose()


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


async def test_without_redis_a_process_keeps_to_its_own_line(settings, host):
    alone = Hosts(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    async with alone.turn(host, 60):
        with pytest.raises(BusyError):
            async with alone.turn(host, 0.05):
                pytest.fail("it is another's")
    await alone.aclose()


async def test_a_redirect_waits_for_its_turn_too(processes, settings):
    async with serving() as first, serving() as second:
        url = first.redirects("/moved", second.says("/page", b"<p>here"))
        fetcher = Fetcher(settings.model_copy(update={"net_allow": (first.allowed, second.allowed)}))
        assert (await fetcher.page(url, 20)).text == "<p>here"
        async with processes[0].turn(f"127.0.0.1:{second.port}", 60):
            with pytest.raises(BusyError):
                await fetcher.page(url, 0.5)
        assert [len(server.heads) for server in (first, second)] == [2, 1]
        await fetcher.aclose()
