"""What rests on Redis: the outcome store and who is there, on a real Valkey."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from pydantic import SecretStr
from redis.exceptions import RedisError

from backbone import outcome, presence
from backbone.clock import now_ms
from backbone.errors import StoreUnavailableError
from backbone.ids import new_id
from backbone.outcomes import OutcomeStore
from backbone.presence import announce, instance_name, who_is_there
from backbone.redis import connect
from backbone.settings import Settings
from backbone.stamp import stamp
from backbone.telemetry import Readiness
from schemas.errors import Problem
from schemas.records import Status, Task
from schemas.tiers import Tier
from tests.support import until

POLICY = Settings().tiers.batch


@pytest.fixture
async def redis(settings):
    client = connect(settings)
    yield client
    await client.aclose()


@pytest.fixture
def store(redis, settings):
    return OutcomeStore(redis, settings)


def task(attempt: int = 1) -> Task:
    return stamp(Task(kind="k", attempt=attempt), task_id=new_id(), tier=Tier.BATCH, policy=POLICY, now=1)


async def test_the_first_outcome_wins_and_a_loser_gets_its_records(store):
    what = task()
    ends = [
        outcome.ended(what, status, now=at, worker="w")
        for at, status in enumerate((Status.SUCCEEDED, Status.CANCELLED, Status.EXPIRED))
    ]
    settled = await asyncio.gather(*(store.settle(end) for end in ends))
    assert sorted(won for won, _ in settled) == [False, False, True]
    assert len({records for _, records in settled}) == 1
    assert await store.find(what) == settled[0][1]


async def test_an_attempt_that_is_followed_by_another_is_told_from_the_end(store):
    first = task()
    again = outcome.failed(first, Problem("x", "y", retryable=True), policy=POLICY, now=2, worker="w", jitter=0)
    await store.settle(again)
    assert await store.find(first) == again.records
    second = again.records[0].record.template.task
    assert await store.find(second) is None
    end = outcome.ended(second, Status.SUCCEEDED, now=3, worker="w", result=b"1")
    await store.settle(end)
    assert await store.find(second) == await store.find(first) == end.records


async def test_each_process_that_begins_an_attempt_counts_once(redis, settings):
    one, two, three = (OutcomeStore(redis, settings) for _ in range(3))
    what = msgspec.structs.replace(task(), deadline=now_ms() + 60_000)
    assert await one.begin(what, late=True) == (None, False, 0)
    assert await one.begin(what, late=False) == (None, False, 0)
    assert await one.begin(what, late=False) == (None, True, 0)
    assert await two.begin(what, late=True) == (None, True, 1)
    assert await two.begin(what, late=False) == (None, True, 1)
    assert await three.begin(what, late=False) == (None, True, 2)
    assert await three.begin(msgspec.structs.replace(what, attempt=2), late=False) == (None, False, 0)
    end = outcome.ended(what, Status.SUCCEEDED, now=3, worker="w", result=b"1")
    await two.settle(end)
    assert (await one.begin(what, late=False)).follows == end.records


async def test_redis_away_decides_nothing():
    away = OutcomeStore(connect(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"))), Settings())
    with pytest.raises(StoreUnavailableError):
        await away.find(task())
    with pytest.raises(StoreUnavailableError):
        await away.settle(outcome.ended(task(), Status.SUCCEEDED, now=1, worker="w"))


async def test_a_process_is_there_until_it_ends(redis, settings, monkeypatch):
    monkeypatch.setattr(presence, "TTL", timedelta(hours=1))  # so that what is shown was said at the change
    readiness = Readiness("loading")
    announcing = asyncio.create_task(announce(redis, settings, "test.service", readiness))

    async def shown(expected: list[tuple[bool, str]]) -> bool:
        there = await who_is_there(redis, settings)
        mine = [(p.ready, p.detail) for p in there if (p.service, p.instance) == ("test.service", instance_name())]
        return mine == expected

    await until(lambda: shown([(False, "loading")]))
    await asyncio.to_thread(readiness.is_ready)
    await until(lambda: shown([(True, "ready")]))
    announcing.cancel()
    await asyncio.wait([announcing])
    assert await shown([])


async def test_presence_unheard_disturbs_nothing():
    away = connect(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    announcing = asyncio.create_task(announce(away, Settings(), "test.service", Readiness()))
    with pytest.raises(RedisError):
        await who_is_there(away, Settings())
    assert not announcing.done()
    announcing.cancel()
    await asyncio.wait([announcing])


async def test_two_stacks_on_one_server_never_see_one_another(redis, settings, store):
    other = settings.model_copy(update={"topic_prefix": "another."})
    what = task()
    won, _ = await store.settle(outcome.ended(what, Status.SUCCEEDED, now=1, worker="w"))
    await store.begin(what, late=False)
    theirs = OutcomeStore(redis, other)
    assert await theirs.begin(what, late=False) == (None, False, 0)
    assert (won, (await theirs.settle(outcome.ended(what, Status.CANCELLED, now=2, worker="w")))[0]) == (True, True)
    announcing = asyncio.create_task(announce(redis, other, "test.other", Readiness()))

    async def named(of) -> bool:
        return "test.other" in {there.service for there in await who_is_there(redis, of)}

    await until(lambda: named(other))
    assert not await named(settings)
    announcing.cancel()
    await asyncio.wait([announcing])
