"""Leases on a real Valkey: one holder at a time, waiters in line, and holders that die, stop or lose their Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

from backbone.errors import LeaseLostError, LeaseTimeoutError, StaleFenceError, StoreUnavailableError
from backbone.fence import fenced
from backbone.ids import new_id
from backbone.lease import Lease
from backbone.lease_scripts import LEAVE, RENEW, Keys
from backbone.redis import connect
from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

pytestmark = pytest.mark.slow
LONG = 300.0


@pytest.fixture(scope="module")
async def valkey(tmp_path_factory) -> AsyncIterator[LocalStack]:
    """A Valkey of this module's own: it counts commands, and is killed."""
    settings = Settings(home=tmp_path_factory.mktemp("leases") / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("valkey",)) as running:
        yield running


@pytest.fixture
def settings(valkey) -> Settings:
    return valkey.settings


@pytest.fixture
async def redis(settings) -> AsyncIterator[Redis]:
    client = connect(settings)
    yield client
    await client.aclose()


@pytest.fixture
def name() -> str:
    return f"test:{new_id()}"


async def calls(redis: Redis) -> int:
    stats: dict[str, Any] = await redis.info("commandstats")
    return sum(of["calls"] for command, of in stats.items() if command in {"cmdstat_evalsha", "cmdstat_blpop"})


async def waiting(redis: Redis, settings: Settings, name: str, count: int) -> None:
    async def all_there() -> bool:
        return await redis.llen(Keys.of(settings, name).queue) == count

    await until(all_there)


@asynccontextmanager
async def holder(settings: Settings, how: str, name: str, ttl: float, resource: Path) -> AsyncIterator[Any]:
    environ = {**os.environ, "BARNABAS_REDIS_URL": settings.redis_url.get_secret_value(), "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.backbone.lease_holder", how, name, str(ttl), str(resource)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environ,
    )

    async def hear() -> str:
        async with asyncio.timeout(60):
            return (await process.stdout.readline()).decode().strip()

    process.hear = hear
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_twenty_want_it_and_one_at_a_time_has_it(redis, settings, name):
    inside: list[int] = []
    fences: list[int] = []

    async def one(number: int) -> None:
        async with Lease(redis, settings, name, ttl=LONG) as held:
            inside.append(number)
            await asyncio.sleep(0.002)
            assert inside == [number]
            inside.clear()
            fences.append(held.fence)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert len(fences) == 20
    assert fences == sorted(set(fences))
    # Nothing is left behind but the number.
    left = {key.decode() for key in await redis.keys("*") if name.encode() in key}
    assert {key for key in left if ":wake:" not in key} == set()


async def test_those_who_wait_get_it_in_the_order_they_came_and_only_the_next_is_woken(redis, settings, name):
    order: list[int] = []

    async def one(number: int) -> None:
        async with Lease(redis, settings, name, ttl=LONG):
            order.append(number)

    async with asyncio.TaskGroup() as tasks, Lease(redis, settings, name, ttl=LONG):
        for number in range(20):
            tasks.create_task(one(number))
            await waiting(redis, settings, name, number + 1)
        before = await calls(redis)
    assert order == list(range(20))
    # Each takes it and gives it back. Were all woken each time, they would ask 210 times; polling, without end.
    assert await calls(redis) - before < 120


async def test_a_wait_has_an_end_and_leaves_nobody_in_line(redis, settings, name):
    async with Lease(redis, settings, name, ttl=LONG):
        with pytest.raises(LeaseTimeoutError) as caught:
            async with Lease(redis, settings, name, wait=0.05):
                pytest.fail("it is held")
        assert (caught.value.code, caught.value.retryable) == ("lease.timeout", True)
        await waiting(redis, settings, name, 0)


async def test_one_who_gives_up_as_it_is_woken_wakes_the_next(redis, settings, name):
    async def one() -> None:
        async with Lease(redis, settings, name, ttl=LONG):
            pass

    async with Lease(redis, settings, name, ttl=LONG):
        first = asyncio.create_task(one())
        await waiting(redis, settings, name, 1)
        second = asyncio.create_task(one())
        await waiting(redis, settings, name, 2)
        first.cancel()
    async with asyncio.timeout(60):
        await second
        await asyncio.wait({first})
    assert first.cancelled()


@pytest.mark.parametrize("waits", [False, True], ids=["a holder", "one in line"])
async def test_whoever_is_cancelled_once_more_as_it_leaves_is_in_nobodys_way(redis, settings, name, monkeypatch, waits):
    keys, leaving, inside = Keys.of(settings, name), asyncio.Event(), asyncio.Event()
    run = Lease._run

    async def slow(self, script, *arguments):
        if script == LEAVE:
            leaving.set()
            await asyncio.sleep(0)
        return await run(self, script, *arguments)

    async def one() -> None:
        async with Lease(redis, settings, name, ttl=LONG):
            inside.set()
            await asyncio.Event().wait()

    async def nobody() -> bool:
        return not await redis.exists(keys.queue if waits else keys.holder)

    monkeypatch.setattr(Lease, "_run", slow)
    monkeypatch.setattr("backbone.lease.SIGN_SECONDS", LONG)  # else a ghost in the line is passed over in the end
    before = Lease(redis, settings, name, ttl=LONG)
    if waits:
        await before.__aenter__()
    leaver = asyncio.create_task(one())
    await (waiting(redis, settings, name, 1) if waits else inside.wait())
    leaver.cancel()
    await leaving.wait()
    leaver.cancel()
    await asyncio.wait({leaver})
    assert leaver.cancelled()
    await until(nobody)
    if waits:
        await before.__aexit__(None, None, None)


async def test_it_is_kept_for_longer_than_its_time(redis, settings, name):
    holder_key = Keys.of(settings, name).holder

    async def renewed() -> bool:
        return await redis.pttl(holder_key) > 2500

    async with Lease(redis, settings, name, ttl=3) as held:
        kept = await redis.get(holder_key)
        for _ in range(3):
            assert await redis.pexpire(holder_key, 2500)
            await until(renewed, limit=60)
        held.check()
        assert await redis.get(holder_key) == kept
    assert await redis.get(holder_key) is None


async def test_a_holder_that_is_killed_is_one_no_more_when_its_time_is_over(redis, settings, name, tmp_path):
    async with holder(settings, "long", name, 1.0, tmp_path / "x") as other:
        first = int((await other.hear()).split()[1])
        other.kill()
        async with asyncio.timeout(60), Lease(redis, settings, name, ttl=LONG) as held:
            assert held.fence > first


async def test_a_waiter_that_is_killed_is_passed_over(redis, settings, name, tmp_path):
    async with holder(settings, "long", name, LONG, tmp_path / "x") as other:
        async with Lease(redis, settings, name, ttl=LONG):
            await waiting(redis, settings, name, 1)
            waiter = asyncio.create_task(Lease(redis, settings, name, ttl=LONG).__aenter__())
            await waiting(redis, settings, name, 2)
            other.kill()
            await other.wait()
        async with asyncio.timeout(60):
            await (await waiter).__aexit__(None, None, None)


async def test_the_late_write_of_a_holder_that_stood_still_is_refused(redis, settings, name, tmp_path):
    resource = tmp_path / "result"
    async with holder(settings, "late", name, 1.0, resource) as other:
        assert (await other.hear()).startswith("held")
        other.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60), Lease(redis, settings, name, ttl=LONG) as held:
            with fenced(resource, held.fence):
                resource.write_text("in time")
            other.stdin.write(b"\n")
            other.send_signal(signal.SIGCONT)
            assert [await other.hear(), await other.hear()] == ["lost", "refused"]
            assert resource.read_text() == "in time"
            # Its release takes nothing from whoever has the lease now.
            await other.wait()
            await asyncio.wait_for(redis.ping(), 60)
            assert await redis.get(Keys.of(settings, name).holder) is not None
            held.check()


async def test_a_holder_that_stood_still_is_interrupted_as_it_goes_on(redis, settings, name, tmp_path):
    async with holder(settings, "long", name, 1.0, tmp_path / "x") as other:
        assert (await other.hear()).startswith("held")
        other.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60), Lease(redis, settings, name, ttl=LONG):
            other.send_signal(signal.SIGCONT)
            assert await other.hear() == "cancelled"


async def test_a_lease_that_was_taken_away_interrupts_its_block_and_no_more(redis, settings, name):
    async def robbed() -> None:
        async with asyncio.timeout(60), Lease(redis, settings, name, ttl=0.3):
            await redis.delete(Keys.of(settings, name).holder)
            await asyncio.Event().wait()

    with pytest.raises(LeaseLostError):
        await robbed()
    await asyncio.sleep(0)  # the task itself is not cancelled
    async with Lease(redis, settings, name, ttl=0.3, cancels=False) as held:
        await redis.delete(Keys.of(settings, name).holder)

        async def gone() -> bool:
            return held.lost

        await until(gone)
        with pytest.raises(LeaseLostError):
            held.check()


async def test_a_renewal_that_is_under_way_as_the_block_ends_cancels_nobody(redis, settings, name, monkeypatch):
    under_way, run = asyncio.Event(), Lease._run

    async def deaf(self, script, *arguments):
        if script == RENEW:
            under_way.set()
            with suppress(asyncio.CancelledError):  # as redis-py does where it comes at the wrong moment
                await asyncio.Event().wait()
        return await run(self, script, *arguments)

    monkeypatch.setattr(Lease, "_run", deaf)
    async with Lease(redis, settings, name, ttl=3) as held:
        await under_way.wait()
    async with asyncio.timeout(60):
        await asyncio.wait({held._renewing})
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_whoever_is_cancelled_for_another_reason_is_cancelled(redis, settings, name):
    inside = asyncio.Event()

    async def work() -> None:
        async with Lease(redis, settings, name, ttl=LONG):
            inside.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await inside.wait()
    working.cancel()
    await asyncio.wait({working})
    assert working.cancelled()
    async with Lease(redis, settings, name, wait=60):  # it was given back
        pass


async def test_leases_outlive_a_restart_of_redis_and_the_number_goes_on(valkey, redis, settings, name):
    async with Lease(redis, settings, name, ttl=LONG) as held:
        before = valkey.pid("valkey")
        os.kill(before, signal.SIGKILL)
        waiter = asyncio.create_task(Lease(redis, settings, name, ttl=LONG).__aenter__())

        async def back() -> bool:
            try:
                return valkey.pid("valkey") != before and await redis.llen(Keys.of(settings, name).queue) == 1
            except RedisError:
                return False

        await until(back, limit=90)
        held.check()
        assert not waiter.done()
    async with asyncio.timeout(60):
        after = await waiter
    assert after.fence > held.fence
    await after.__aexit__(None, None, None)


async def test_the_number_rises_also_where_redis_has_lost_it(redis, settings, name):
    async with Lease(redis, settings, name) as first:
        pass
    await redis.flushdb()
    async with Lease(redis, settings, name) as second:
        assert second.fence > first.fence


async def test_a_holder_that_can_not_renew_knows_by_its_own_clock(valkey, redis, settings, name):
    told: list[bool] = []

    async def forsaken() -> None:
        async with asyncio.timeout(60), Lease(redis, settings, name, ttl=2) as held:
            os.kill(valkey.pid("valkey"), signal.SIGSTOP)  # it can't say a word from here on
            try:
                await asyncio.Event().wait()
            finally:
                told.append(held.lost)
                os.kill(valkey.pid("valkey"), signal.SIGCONT)

    with pytest.raises(LeaseLostError):
        await forsaken()
    assert told == [True]


async def test_redis_away_is_waited_for_only_as_long_as_one_wants(name):
    away = Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"))
    client = connect(away)
    with pytest.raises(StoreUnavailableError):
        async with Lease(client, away, name, outage=0):
            pytest.fail("nobody gave it")
    with pytest.raises(LeaseTimeoutError):
        async with Lease(client, away, name, wait=0.2):
            pytest.fail("nobody gave it")
    await client.aclose()


async def test_two_stacks_on_one_server_have_leases_of_their_own(redis, settings, name):
    other = settings.model_copy(update={"topic_prefix": "another."})
    async with Lease(redis, settings, name), Lease(redis, other, name, wait=60):
        pass


def test_a_fence_lets_the_same_number_and_higher_ones_through(tmp_path):
    resource = tmp_path / "folder"
    for number in (7, 7, 9, None):
        with fenced(resource, number):
            resource.mkdir(exist_ok=True)
    with pytest.raises(StaleFenceError), fenced(resource, 8):
        pytest.fail("9 was there")
