"""Redis or Kafka is away while answers are spoken: they go on where that is possible, and none loses a token.

The servers are frozen: so connections stay open and say nothing, which is harder than a server that is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from backbone.clock import now_ms
from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from schemas.records import FinishReason
from schemas.tiers import Tier
from tests.inference_worker import babbler
from tests.inference_worker.asking import ask, submit
from tests.inference_worker.fleet import Fleet
from tests.inference_worker.hearing import Listening
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from schemas.records import Task

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.long]
KEY = "away"
LENGTHS = [6000, 7000, 8000]
AWAY_SECONDS = 13
"""Longer than a member of the group may say nothing, and than a produce may take."""


@pytest.fixture(scope="module")
async def house(tmp_path_factory) -> AsyncIterator[LocalStack]:
    """Servers of these tests' own."""
    settings = Settings(home=tmp_path_factory.mktemp("outages") / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("kafka", "valkey")) as running:
        yield running


@pytest.fixture(scope="module")
async def fleet(house, converted, tmp_path_factory) -> AsyncIterator[Fleet]:
    home = tmp_path_factory.mktemp("outages") / "workers"
    babbler.install(converted[1], home / "models", tmp_path_factory.mktemp("babbler"))
    async with Fleet(
        house.settings, home, model=babbler.NAME, max_context=babbler.CONTEXT, inference_threads=1
    ) as workers:
        yield workers


@contextmanager
def frozen(house: LocalStack, name: str) -> Iterator[None]:
    """Let a server stand still."""
    pid = house.pid(name)
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _asks(*lengths: int) -> list[Task]:
    # One key: they lie in one partition, so that what a takeover reads is told apart by request alone.
    return [
        ask(f"{n}", Tier.BATCH, key=KEY, payload={"max_tokens": length, "seed": n, "ignore_eos": True})
        for n, length in enumerate(lengths)
    ]


async def test_with_redis_away_answers_are_spoken_to_their_end_and_told_when_it_is_back(house, fleet):
    await fleet.ready(1)
    begun, late = _asks(3000, 4000), _asks(20)
    async with Listening(house.settings) as log:
        await submit(house.settings, *begun)
        await log.until(begun, lambda heard: len(heard.ids) >= 20)
        with frozen(house, "valkey"):
            await submit(house.settings, *late)
            await log.until(begun, lambda heard: heard.finish)
            assert log.heard(late[0]).claims == []
            thawed = now_ms()
        heard = await log.ends([*begun, *late])
    assert [len(one.claims) for one in heard] == [1, 1, 1]
    told = zip(log.results.places, log.results.records, strict=True)
    assert all(place.timestamp >= thawed for place, event in told if event.status.terminal)


async def test_with_kafka_away_in_mid_stream_no_token_is_lost_or_said_twice(house, fleet):
    (ada,) = await fleet.ready(1)
    tasks = _asks(*LENGTHS)
    async with Listening(house.settings) as log:
        await submit(house.settings, *tasks)
        await log.until(tasks, lambda heard: len(heard.ids) >= 20)
        before = log.said(tasks)
        with frozen(house, "kafka"):
            await asyncio.sleep(AWAY_SECONDS)
        heard = await log.ends(tasks)
    assert [len(one.ids) for one in heard] == LENGTHS
    assert [tuple(one.ids[: len(ids)]) for ids, one in zip(before, heard, strict=True)] == before
    assert {one.finish for one in heard} == {FinishReason.LENGTH}
    assert ada.returncode is None

    async def committed() -> bool:
        return await fleet.uncommitted(Tier.BATCH, KEY) == 0

    await until(committed)
