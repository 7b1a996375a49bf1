"""The life of one task, with a real outcome store and no broker."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import msgspec
import pytest
from pydantic import SecretStr

from backbone import outcome
from backbone.errors import StoreUnavailableError
from backbone.ids import new_id
from backbone.redis import connect
from backbone.settings import Settings
from backbone.stamp import stamp
from schemas import codec
from schemas.errors import Problem
from schemas.nesting import MOST_NESTED
from schemas.records import DeadLetter, Status, Task, TaskEvent, Timer
from schemas.tiers import Tier
from streams.errors import BusyError, PayloadError, TaskError
from tests.streams.dispatching import NOW, Worker, dispatcher, records, task


async def test_a_task_succeeds_and_says_so_once(redis):
    async with dispatcher(redis) as (dispatch, worker, said, _):
        what = task()
        first = await dispatch.run(what)
        assert await dispatch.run(what) == first
        (end,) = records(first)
        assert (end.status, json.loads(end.result)["said"]) == (Status.SUCCEEDED, "done")
        assert worker.runs == [what.id]
        assert [event.status for event in said] == [Status.STARTED]


async def test_of_two_workers_with_one_task_one_outcome_wins(redis):
    async with dispatcher(redis) as (one, *_), dispatcher(redis, now=NOW + 5) as (two, *_):
        what = task()
        assert len(set(await asyncio.gather(one.run(what), two.run(what)))) == 1


async def test_progress_is_told(redis):
    async with dispatcher(redis) as (dispatch, _, said, _):
        await dispatch.run(task(do="report"))
        assert [(event.status, event.progress, event.note) for event in said[1:]] == [(Status.PROGRESS, 0.5, "half")]


async def test_an_expired_task_costs_no_handler_time(redis):
    what = task()
    async with dispatcher(redis, now=what.start_by) as (dispatch, worker, said, _):
        (end,) = records(await dispatch.run(what))
        assert (end.status, end.error.code, worker.runs, said) == (Status.EXPIRED, "task.start_by", [], [])


async def test_what_had_begun_in_time_is_run_again_though_its_start_by_has_passed(redis):
    what = task(do="wait")
    async with dispatcher(redis) as (first, worker, *_):
        killed = asyncio.create_task(first.run(what))
        await worker.began.wait()
        killed.cancel()
        await asyncio.wait([killed])
    done = msgspec.structs.replace(what, payload=b"{}")
    async with dispatcher(redis, now=what.start_by + 1) as (second, worker, *_):
        (end,) = records(await second.run(done))
    assert end.status is Status.SUCCEEDED
    async with dispatcher(redis, now=what.deadline) as (third, worker, *_):
        other = task(do="wait")
        (end,) = records(await third.run(other))
        assert (end.status, worker.runs) == (Status.EXPIRED, [])


@pytest.mark.parametrize(
    ("payload", "field"), [({"times": "many"}, "payload.times"), ({"do": 3}, "payload.do"), ("text", "payload")]
)
async def test_a_payload_that_does_not_fit_fails_for_good_and_names_the_field(redis, payload, field):
    async with dispatcher(redis) as (dispatch, worker, *_):
        what = stamp(
            Task(kind=Worker.kind, payload=json.dumps(payload).encode()),
            task_id=new_id(), tier=Tier.REALTIME, policy=Settings().tiers.realtime, now=NOW,
        )  # fmt: skip
        letter, end = records(await dispatch.run(what))
        assert isinstance(letter, DeadLetter)
        assert (end.status, end.error.code, end.error.field) == (Status.FAILED, "payload.invalid", field)
        assert worker.runs == []


async def test_an_unknown_kind_is_named(redis):
    async with dispatcher(redis) as (dispatch, *_):
        _, end = records(await dispatch.run(task(kind="no.such")))
        assert (end.error.code, end.error.field) == ("kind.unknown", "kind")


@pytest.mark.parametrize(
    ("do", "code"),
    [
        ("fail", "task.transient"),
        ("crash", "task.crashed"),
        ("time out by itself", "task.crashed"),
        ("cancel itself", "task.crashed"),
    ],
)
async def test_what_may_pass_is_tried_again_by_a_timer(redis, do, code):
    async with dispatcher(redis) as (dispatch, worker, *_):
        what = task(do=do)
        out = await dispatch.run(what)
        timer, event = records(out)
        assert isinstance(timer, Timer)
        assert isinstance(event, TaskEvent)
        assert (event.status, event.error.code) == (Status.RETRYING, code)
        assert await dispatch.run(what) == out
        assert len(worker.runs) == 1
        assert timer.template.task.attempt == 2


async def test_a_handler_is_stopped_at_the_end_of_its_time(redis):
    async with dispatcher(redis, handler_timeout=0.05) as (dispatch, *_):
        _, event = records(await dispatch.run(task(do="wait")))
        assert event.error.code == "handler.timeout"


async def test_a_handler_that_goes_on_after_its_end_keeps_its_partition_no_longer(redis, monkeypatch):
    monkeypatch.setattr("streams.dispatch.PATIENCE", timedelta(seconds=0.05))
    async with dispatcher(redis, handler_timeout=0.05) as (dispatch, worker, *_):
        _, event = records(await dispatch.run(task(do="ignore its end")))
        worker.released.set()
    assert (event.status, event.error.code) == (Status.RETRYING, "handler.timeout")


class UnreadyError(TaskError):
    """A third party's, which forgets what is above it."""

    def __init__(self) -> None:
        pass


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("nothing to say")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ValueError("x" * 8000), "task.crashed"),
        (ValueError("a lone \udc80"), "task.crashed"),
        (PayloadError(ValueError("not a text")), "payload.invalid"),
        (PayloadError("so", field="a\ud800" * 9999), "payload.invalid"),
        (PayloadError("so", field=3), "payload.invalid"),
        (UnreadyError(), "task.crashed"),
        (SpeechlessError(), "task.crashed"),
    ],
)
async def test_whatever_a_handler_raises_can_be_told(redis, raised, code):
    async with dispatcher(redis) as (dispatch, worker, *_):
        worker.raises["raise"] = raised
        told = await dispatch.run(task(do="raise"))
    event = records(told)[-1]
    assert event.error.code == code
    for out in told:
        written = codec.encode(out.record)
        assert codec.decode(written, type(out.record)) == out.record
        assert len(written) < 10_000


@pytest.mark.parametrize(
    ("asks", "seconds"),
    [(40, 40), (0.5, 0.5), (0, 0), (None, 0), (-1, 0), (float("nan"), 0), (float("inf"), 86_400), ("soon", 0)],
)
async def test_what_says_when_to_come_back_is_tried_then(redis, asks, seconds):
    async with dispatcher(redis) as (dispatch, worker, *_):
        worker.raises["raise"] = BusyError("so", retry_after=asks)
        first = records(await dispatch.run(task(do="raise")))[0]
    if isinstance(first, Timer):
        assert first.at >= NOW + seconds * 1000
        assert first.at <= NOW + max(seconds * 1000 + 500, outcome.backoff(3, 1))
    else:
        assert seconds > 3600  # not before its deadline


async def test_what_runs_past_its_deadline_has_expired(redis):
    async with dispatcher(redis, handler_timeout=0.05) as (dispatch, worker, _, clock):
        what = task(do="wait")
        running = asyncio.create_task(dispatch.run(what))
        await worker.began.wait()
        clock[0] = what.deadline
        (end,) = records(await running)
        assert (end.status, end.error.code) == (Status.EXPIRED, "task.deadline")


async def test_a_cancellation_interrupts_and_the_one_in_the_store_wins(redis):
    async with dispatcher(redis) as (dispatch, worker, *_):
        what = task(do="wait")
        running = asyncio.create_task(dispatch.run(what))
        await worker.began.wait()
        asked = outcome.ended(
            what, Status.CANCELLED, now=NOW + 1, worker="edge", error=Problem("task.cancelled", "by ada")
        )
        await dispatch.store.settle(asked)
        assert dispatch.cancel(what.id)
        assert await running == asked.records
        assert not dispatch.cancel(what.id)


async def test_a_drain_leaves_the_task_to_another(redis):
    async with dispatcher(redis) as (dispatch, worker, *_), dispatcher(redis) as (other, *_):
        what = task(do="wait")
        running = asyncio.create_task(dispatch.run(what))
        await worker.began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await other.store.find(what) is None


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"do": "shout", "times": 3}, "result.too_large"),
        ({"do": "dig", "times": MOST_NESTED}, "result.too_deep"),
        ({"do": "dig", "times": 300}, "result.invalid"),
        ({"do": "babble"}, "result.invalid"),
    ],
)
async def test_a_result_that_no_reader_could_bear_is_a_typed_failure_and_not_tried_again(redis, payload, code):
    async with dispatcher(redis, max_upload_bytes=2**20) as (dispatch, *_):
        letter, end = records(await dispatch.run(task(**payload)))
        assert (end.status, end.error.code, end.error.field) == (Status.FAILED, code, "result")
        assert isinstance(letter, DeadLetter)


async def test_a_result_as_deep_as_may_be_is_one(redis):
    async with dispatcher(redis) as (dispatch, *_):
        (end,) = records(await dispatch.run(task(do="dig", times=MOST_NESTED - 1)))
        assert end.status is Status.SUCCEEDED


async def test_nothing_is_run_while_redis_is_away():
    away = connect(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    async with dispatcher(away) as (dispatch, worker, *_):
        with pytest.raises(StoreUnavailableError):
            await dispatch.run(task())
        assert worker.runs == []
