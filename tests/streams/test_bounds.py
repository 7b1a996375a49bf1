"""What bounds a task before its handler: its tier's rate, and how many processes it has killed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from backbone import outcome
from backbone.ids import new_id
from backbone.rate import Rate
from schemas.records import DeadLetter, Status, Timer
from streams.dispatch import MOST_DEATHS
from tests.streams.dispatching import NOW, dispatcher, records, task


async def killed(redis, what, **more):
    """Begin a task and drop it, as a process does that is killed."""
    async with dispatcher(redis, **more) as (dispatch, worker, *_):
        running = asyncio.create_task(dispatch.run(what))
        await worker.began.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def run(redis, what, **more):
    async with dispatcher(redis, **more) as (dispatch, worker, *_):
        told = records(await dispatch.run(what))
        assert worker.runs == []
        return told


class TestDeaths:
    async def test_an_attempt_that_killed_each_of_its_processes_has_failed_and_the_next_one_ends_it(self, redis):
        what = task(do="wait")
        for _ in range(MOST_DEATHS):
            await killed(redis, what)
        timer, event = await run(redis, what)
        assert isinstance(timer, Timer)
        assert (event.status, event.error.code) == (Status.RETRYING, "handler.died")
        again = timer.template.task
        for _ in range(MOST_DEATHS):
            await killed(redis, again)
        letter, end = await run(redis, again)
        assert isinstance(letter, DeadLetter)
        assert (end.status, end.error.code) == (Status.FAILED, "handler.died")
        assert [attempt.code for attempt in letter.history] == ["handler.died"] * 2

    async def test_deaths_are_counted_past_start_by_too(self, redis):
        what = task(do="wait")
        await killed(redis, what)
        for _ in range(MOST_DEATHS - 1):
            await killed(redis, what, now=what.start_by)
        _, event = await run(redis, what, now=what.start_by)
        assert event.error.code == "handler.died"

    async def test_a_process_that_begins_it_again_has_not_died(self, redis):
        async with dispatcher(redis) as (dispatch, *_):
            what = task()
            for _ in range(MOST_DEATHS + 1):
                await dispatch.store.begin(what, late=False)
            assert records(await dispatch.run(what))[0].status is Status.SUCCEEDED


class TestRate:
    async def test_a_tier_begins_no_more_than_its_rate_however_many_processes_it_has(self, redis):
        prefix = f"{new_id()}."
        async with (
            dispatcher(redis, rate=20, topic_prefix=prefix) as (one, *_),
            dispatcher(redis, rate=20, topic_prefix=prefix) as (two, *_),
        ):
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.gather(*(dispatch.run(task()) for dispatch in (one, two) for _ in range(15)))
            # A second's worth at once, and the ten beyond it one after another.
            assert loop.time() - began > 10 / 20 - 0.01

    async def test_what_expires_while_it_waits_for_its_turn_costs_no_handler_time(self, redis):
        async with dispatcher(redis, rate=10, topic_prefix=f"{new_id()}.") as (dispatch, worker, said, clock):
            for _ in range(12):
                await dispatch.limiter.take("tier:realtime", Rate(10, 10), longest=9)
            what = task()
            running = asyncio.create_task(dispatch.run(what))
            while what.id not in dispatch._running:  # noqa: ASYNC110 - until it waits for its turn
                await asyncio.sleep(0)
            clock[0] = what.start_by
            (end,) = records(await running)
            assert (end.status, end.error.code, worker.runs, said) == (Status.EXPIRED, "task.start_by", [], [])

    async def test_what_waits_for_its_turn_can_be_cancelled(self, redis):
        async with dispatcher(redis, rate=1, topic_prefix=f"{new_id()}.") as (dispatch, worker, *_):
            for _ in range(15):
                await dispatch.limiter.take("tier:realtime", Rate(1, 1), longest=99)
            what = task()
            running = asyncio.create_task(dispatch.run(what))
            while what.id not in dispatch._running:  # noqa: ASYNC110 - until it waits for its turn
                await asyncio.sleep(0)
            asked = outcome.ended(what, Status.CANCELLED, now=NOW, worker="edge")
            await dispatch.store.settle(asked)
            assert dispatch.cancel(what.id)
            assert (await running, worker.runs) == (asked.records, [])
