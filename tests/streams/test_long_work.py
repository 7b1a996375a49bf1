"""Work that takes longer than a handler may hold its partition: part after part, each a task, until there is a result."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from backbone import outcome
from schemas import topics
from schemas.records import Status, Step, Task, Timer
from schemas.tiers import Tier
from streams.documents import write_rest
from streams.errors import NextError, ResultTooLargeError
from streams.handlers.port import Next
from tests.streams.dispatching import NOW, Work, Worker, dispatcher, records, task

THEN = Step(kind="cron.parse", payload=b'{"expression":"{{ result.said }}"}')


async def test_part_follows_part_and_what_the_chain_holds_comes_after_the_last(redis):
    async with dispatcher(redis) as (dispatch, worker, *_):
        current = first = task(do="go on", times=3, then=[THEN])
        walked = []
        while current.kind == Worker.kind:
            end, following = records(await dispatch.run(current))
            assert (end.status, end.next_id) == (Status.SUCCEEDED, following.id)
            walked.append((current, end.result))
            current = following
        assert [part.step for part, _ in walked] == [0, 1, 2]
        assert [result is None for _, result in walked] == [True, True, False]
        assert len(set(worker.runs)) == 3
        alike = {(part.root_id, part.key, part.deadline) for part, _ in walked}
        assert alike == {(first.id, first.key, first.deadline)}
        assert [part.parent_id for part, _ in walked[1:]] == worker.runs[:2]
        assert (current.kind, current.step, current.payload) == ("cron.parse", 3, b'{"expression":"done"}')


async def test_a_part_goes_to_the_topic_of_its_tier_at_once_and_a_repeat_makes_the_same(redis):
    async with dispatcher(redis) as (dispatch, worker, *_):
        what = task(do="go on", times=2)
        made = await dispatch.run(what)
        assert made[1].topic is topics.TASKS[Tier.REALTIME]
        assert await dispatch.run(what) == made
        assert len(worker.runs) == 1


async def test_a_part_that_is_to_wait_waits_in_a_timer_and_may_begin_late_by_its_tier_only_after_that(redis):
    async with dispatcher(redis) as (dispatch, *_):
        what = task(do="go on", times=2, delay=40)
        timer, end = records(await dispatch.run(what))
        rest = timer.template.task
        assert isinstance(timer, Timer)
        assert (timer.at, end.next_id) == (NOW + 40_000, rest.id)
        assert (rest.start_by, rest.deadline) == (NOW + 40_000 + 15_000, what.deadline)
        assert outcome.successor(await dispatch.run(what)) == rest


async def test_no_part_outlives_the_deadline_of_the_first(redis):
    async with dispatcher(redis) as (dispatch, worker, _, clock):
        timer, _ = records(await dispatch.run(task(do="go on", times=2, delay=10**9)))
        rest = timer.template.task
        assert timer.at == rest.start_by == rest.deadline
        clock[0] = timer.at
        (end,) = records(await dispatch.run(rest))
        assert (end.status, end.error.code, len(worker.runs)) == (Status.EXPIRED, "task.deadline", 1)


async def test_a_part_is_tried_again_by_itself(redis):
    async with dispatcher(redis) as (dispatch, *_):
        _, rest = records(await dispatch.run(task(do="go on", times=2)))
        failing = Task(**{name: getattr(rest, name) for name in rest.__struct_fields__} | {"payload": b'{"do":"fail"}'})
        timer, event = records(await dispatch.run(failing))
        assert (event.status, timer.template.task.attempt, timer.template.task.id) == (Status.RETRYING, 2, rest.id)


async def test_a_part_that_does_not_fit_its_kind_fails_the_one_that_made_it(redis):
    async with dispatcher(redis) as (dispatch, *_):
        _, end = records(await dispatch.run(task(do="go on wrongly")))
        assert (end.status, end.error.code, end.error.field) == (Status.FAILED, "result.next", "next.payload.times")


class Other(BaseModel):
    do: int = 1


@pytest.mark.parametrize(
    ("made", "error", "field"),
    [
        (Next(Other()), NextError, "next.payload.do"),
        (Next(Work(do="x" * 2000)), ResultTooLargeError, "next.payload"),
    ],
)
def test_what_no_next_part_can_be_made_of_names_the_field(made, error, field):
    with pytest.raises(error) as caught:
        write_rest(made, Work, 1000)
    assert caught.value.field == field
    assert not caught.value.retryable


def test_a_negative_delay_is_refused():
    with pytest.raises(NextError, match="negative"):
        write_rest(Next(Work(), timedelta(seconds=-1)), Work, 1000)
