"""Each slot is accounted for once, whatever happens to the real service: killed, stopped, away for an hour, misled."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backbone.clock import now_ms
from backbone.telemetry import Readiness
from schemas import topics
from schemas.records import FireOutcome, Misfire, Timer, TimerState
from streams.timers import TimerService
from tests.streams.timer_tools import SLOTS, held_against, of, reached, timer, whole
from tests.support import Log, apart, beside, produce, until

if TYPE_CHECKING:
    from backbone.settings import Settings

pytestmark = pytest.mark.timeout(300)

HOUR = 3_600_000


async def put(settings: Settings, *timers: Timer) -> None:
    for one in timers:
        await produce(settings, topics.TIMERS, one.id, one)


def some(**fields) -> list[Timer]:
    """One timer for each misfire policy."""
    return [timer(misfire=misfire, catch_up_limit=5, **fields) for misfire in Misfire]


async def killed(settings: Settings, *arguments: str) -> None:
    """Run a service until it has killed itself."""
    named = {
        "KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "TOPIC_PREFIX": settings.topic_prefix,
        "GROUP_INSTANCE": "mortal",  # so that its successor needn't wait for its session to end
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.streams.mortal_timers", *arguments,
        env={**os.environ, **{f"BARNABAS_{name}": value for name, value in named.items()}},
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert await asyncio.wait_for(process.wait(), 90) == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()


async def test_killed_at_each_point_between_decision_task_fire_and_account(stack, tmp_path):
    settings = await apart(stack.settings, "timers-killed")
    timers = some(every=150)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await put(settings, *timers)
        for point in (("1",), ("2",), ("3",), ("4",), ("2", "--unacknowledged"), ("3", "--unacknowledged")):
            await killed(settings, *point)
        last = max(now_ms() + 1000, timers[-1].created_at + SLOTS * 150)
        async with beside(settings, tmp_path / "home", "timers", group_instance="mortal"):
            await fires.until(reached(timers, last), limit=120)
    became = await held_against(settings, *timers)
    assert min(len(slots) for slots in became) >= SLOTS


async def test_stopped_for_an_hour(stack, tmp_path):
    """The timers are an hour old when the service first sees them."""
    settings = await apart(stack.settings, "timers-hour")
    ago = now_ms() - HOUR
    policies = some(every=HOUR // SLOTS, created_at=ago)
    paused = timer(every=HOUR // SLOTS, created_at=ago, since=ago + HOUR + 1, revision=3)
    bounded = timer(every=HOUR // SLOTS, created_at=ago, misfire=Misfire.CATCH_UP, max_late=HOUR // 10)
    late, forgotten = timer(at=ago), timer(at=ago, since=now_ms(), revision=3)
    intervals = [*policies, paused, bounded]
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await put(settings, *intervals, late, forgotten)
        async with beside(settings, tmp_path / "home", "timers"):
            await fires.until(
                lambda told: reached(intervals, ago + HOUR)(told) and reached([late, forgotten], ago)(told)
            )
    hours = [list(slots.values())[:SLOTS] for slots in await held_against(settings, *intervals)]
    late_ones = {one.id: hour.count(FireOutcome.LATE) for one, hour in zip(intervals, hours, strict=True)}
    assert all(hour[: SLOTS - 21] == [FireOutcome.SKIPPED] * (SLOTS - 21) for hour in hours)
    fire_once, catch_up, skip = policies
    # The newest slot may be on time, and then counts among those that may fire late.
    assert late_ones[fire_once.id] in (0, 1)
    assert late_ones[catch_up.id] in (4, 5)
    assert late_ones[skip.id] == late_ones[paused.id] == 0
    assert late_ones[bounded.id] in range(SLOTS // 10 - 3, SLOTS // 10 + 1)
    ends = {fire.timer_id: (fire.outcome, fire.reason) for fire in fires.records}
    assert ends[late.id] == (FireOutcome.LATE, None)
    assert ends[forgotten.id] == (FireOutcome.SKIPPED, "paused")


async def test_one_that_is_stopped_past_its_session_disturbs_no_slot_of_its_successor(stack, tmp_path):
    """Two services share the timers; one is stopped until the other has taken over, and goes on then."""
    settings = await apart(stack.settings, "timers-stopped")
    timers = [timer(every=100) for _ in range(12)]
    async with (
        beside(settings, tmp_path / "one", "timers"),
        beside(settings, tmp_path / "two", "timers") as second,
        Log(settings, topics.TIMERS_FIRED) as fires,
    ):
        await put(settings, *timers)
        await fires.until(reached(timers, timers[-1].created_at))
        os.kill(second.pid("timers"), signal.SIGSTOP)
        stopped = now_ms()
        try:
            # The successor has taken over once each timer fires again.
            await fires.until(reached(timers, stopped + 4000))
        finally:
            os.kill(second.pid("timers"), signal.SIGCONT)
        await fires.until(reached(timers, max(now_ms() + 3000, timers[-1].created_at + SLOTS * 100)))
    became = await held_against(settings, *timers)
    assert min(len(slots) for slots in became) >= SLOTS


async def test_kafka_hangs_while_timers_fire(stack, tmp_path):
    """It hangs until writes are given up, so that nobody knows which of them it has."""
    settings = await apart(stack.settings, "timers-kafka")
    timers = some(every=100)
    async with (
        beside(settings, tmp_path / "home", "timers", produce_timeout=timedelta(seconds=2)) as running,
        Log(settings, topics.TIMERS_FIRED) as fires,
    ):
        await put(settings, *timers)
        await fires.until(reached(timers, timers[-1].created_at + 500))
        process = running.pid("timers")
        said = running.home.logs / "timers.log"

        async def given_up() -> bool:
            return "records.not_durable" in await asyncio.to_thread(said.read_text)

        os.kill(stack.pid("kafka"), signal.SIGSTOP)
        try:
            await until(given_up, limit=60)
        finally:
            os.kill(stack.pid("kafka"), signal.SIGCONT)
        await fires.until(reached(timers, max(now_ms() + 3000, timers[-1].created_at + SLOTS * 100)), limit=120)
        assert running.pid("timers") == process  # it went on by itself
    became = await held_against(settings, *timers)
    assert min(len(slots) for slots in became) >= SLOTS


async def test_stopped_while_timers_fire(stack):
    """A clean stop finishes what was decided; the next service goes on after it."""
    settings = await apart(stack.settings, "timers-stop")
    timers = [timer(every=50) for _ in range(20)]
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await put(settings, *timers)
        for _ in range(3):
            service = TimerService(settings, Readiness())
            await service.start()
            try:
                await fires.until(reached(timers, now_ms() + 200))
            finally:
                await service.stop()
            states = dict(await whole(settings, topics.TIMERS_STATE))
            assert {identity for identity, state in states.items() if state.firing is not None} == set()
    await held_against(settings, *timers)


async def test_the_clock_is_set_back_and_forward(stack):
    settings = await apart(stack.settings, "timers-clock")
    offset = 0
    often = timer(every=50)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        service = TimerService(settings, Readiness(), now=lambda: now_ms() + offset)
        await service.start()
        try:
            await put(settings, often)
            for step in (-1500, 5000, -2000):
                await fires.until(reached([often], now_ms() + offset + 500))
                offset += step
            await fires.until(reached([often], often.created_at + 50 * SLOTS))
        finally:
            await service.stop()
    (became,) = await held_against(settings, often)
    assert len(became) >= SLOTS
    assert FireOutcome.SKIPPED in became.values()  # what the clock leapt over


async def test_a_removed_timer_leaves_no_state_behind(stack, tmp_path):
    """Removed while the service runs, and removed while none does."""
    settings = await apart(stack.settings, "timers-removed")
    running, stopped = timer(every=100), timer(every=100)

    async def states() -> dict[str, TimerState | None]:
        return dict(await whole(settings, topics.TIMERS_STATE))

    async def gone(identity: str) -> bool:
        return (await states())[identity] is None

    async with Log(settings, topics.TIMERS_FIRED) as fires, beside(settings, tmp_path / "one", "timers"):
        await put(settings, running, stopped)
        await fires.until(reached([running, stopped], running.created_at + 300))
        await produce(settings, topics.TIMERS, running.id, None)
        await until(lambda: gone(running.id), limit=60)
    assert (await states())[stopped.id] is not None
    await produce(settings, topics.TIMERS, stopped.id, None)
    async with beside(settings, tmp_path / "two", "timers"):
        await until(lambda: gone(stopped.id), limit=60)
    written = await whole(settings, topics.TIMERS_STATE)
    probe = timer(at=now_ms())
    async with Log(settings, topics.TIMERS_FIRED) as fires, beside(settings, tmp_path / "three", "timers"):
        await put(settings, probe)
        await fires.until(of(probe.id))
    assert len(await whole(settings, topics.TIMERS_STATE)) == len(written)
