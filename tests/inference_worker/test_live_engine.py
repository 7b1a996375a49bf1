"""The engine on its thread: what ends from outside gives its place up before the next step, whatever is in progress."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from inference_worker.engine import Engine
from inference_worker.live_engine import LiveEngine
from schemas.records import FinishReason
from tests.inference_worker.test_engine import END, Arithmetic, _answer, _sequence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from inference_worker.scheduled import Output
    from inference_worker.sequence import Sequence

LIMIT = 30.0


class Gated(Arithmetic):
    """Begins a step, and ends it when the test says so."""

    def __init__(self) -> None:
        super().__init__(slots=1)
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def step(self, batch):
        self.begun.release()
        assert self.may_end.acquire(timeout=LIMIT)
        return super().step(batch)


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def gated() -> AsyncIterator[tuple[LiveEngine, Gated, Clock]]:
    runner, clock = Gated(), Clock()
    engine = LiveEngine(Engine(runner, {END}), clock)
    engine.start()
    yield engine, runner, clock
    runner.may_end.release(1000)
    await engine.stop()
    assert not engine.crashed.done()


async def _begun(runner: Gated) -> None:
    assert await asyncio.to_thread(runner.begun.acquire, timeout=LIMIT)


async def _hear(engine: LiveEngine, request: Sequence, into: list[Output]) -> None:
    async with aclosing(engine.run(request)) as steps:
        async for outputs in steps:
            into += outputs


@pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect"])
async def test_what_ends_from_outside_frees_its_place_within_a_step(gated, how):
    engine, runner, clock = gated
    first, second = _sequence([1, 2], 100, deadline=50), _sequence([3], 4, deadline=500)
    heard: dict[str, list[Output]] = {"first": [], "second": []}
    running = asyncio.create_task(_hear(engine, first, heard["first"]))
    await _begun(runner)
    waiting = asyncio.create_task(_hear(engine, second, heard["second"]))
    await asyncio.sleep(0)  # it has put its command
    if how == "cancel":
        engine.cancel(first.id)
    elif how == "deadline":
        clock.now = 60
    else:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    runner.may_end.release()
    await _begun(runner)
    runner.may_end.release(1000)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(running, waiting, return_exceptions=True)
    assert [work.start for step in runner.steps for work in step] == [0, 0, 1, 2, 3]
    assert [token for out in heard["second"] for token in out.tokens] == _answer([3], 4)
    reasons = {"cancel": [FinishReason.CANCELLED], "deadline": [FinishReason.DEADLINE], "disconnect": []}
    assert [out.finish for out in heard["first"] if out.finish] == reasons[how]
