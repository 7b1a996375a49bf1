"""Steps that a handler asks for: they come before what its task's chain holds, and are steps like any other."""

from __future__ import annotations

import json

import msgspec
import pytest

from backbone import outcome
from backbone.chain import MOST_STEPS, next_id
from backbone.settings import Settings
from schemas import topics
from schemas.nesting import MOST_NESTED
from schemas.records import Status, Step, Task
from schemas.tiers import Tier
from streams.documents import follow
from streams.errors import FollowedError
from streams.handlers.port import Then
from tests.streams.dispatching import NOW, Worker, deep, dispatcher, records, task

pytestmark = pytest.mark.stack
OWN = Step(kind="cron.parse", payload=b'{"expression":"{{ result.said }}"}')


async def test_a_step_that_a_handler_asks_for_comes_before_what_the_chain_holds(redis):
    async with dispatcher(redis) as (dispatch, *_):
        what = msgspec.structs.replace(task(do="ask for more", note="report", then=[OWN]), owner="me", tenant="us")
        end, asked = records(await dispatch.run(what))
        assert (end.status, json.loads(end.result)["said"], end.next_id) == (Status.SUCCEEDED, "report", asked.id)
        assert (asked.kind, asked.payload, asked.step, asked.parent_id) == (Worker.kind, b'{"do":"report"}', 1, what.id)
        assert (asked.owner, asked.tenant, asked.key, asked.root_id) == ("me", "us", what.key, what.id)
        end, own = records(await dispatch.run(asked))
        assert (end.status, own.kind, own.payload) == (Status.SUCCEEDED, "cron.parse", b'{"expression":"done"}')
        assert own.then == []


async def test_a_repeat_makes_the_same_step_and_runs_nothing(redis):
    async with dispatcher(redis) as (dispatch, worker, *_):
        what = task(do="ask for more")
        first = await dispatch.run(what)
        assert await dispatch.run(what) == first
        assert (outcome.successor(first).id, worker.runs) == (next_id(what), [what.id])


async def test_a_step_has_the_times_of_its_tier_within_the_end_of_the_chain(redis):
    async with dispatcher(redis) as (dispatch, worker, *_):
        worker.wrong = (Then(Worker.kind, {}, Tier.URGENT),)
        urgent = Settings().tiers.urgent
        out = await dispatch.run(task(do="ask wrongly"))
        asked = out[1].record
        assert (out[1].topic, asked.tier) == (topics.TASKS[Tier.URGENT], Tier.URGENT)
        assert asked.deadline == NOW + urgent.deadline.total_seconds() * 1000
        ends = msgspec.structs.replace(task(do="ask wrongly"), chain_deadline=NOW + 1000)
        assert outcome.successor(await dispatch.run(ends)).deadline == NOW + 1000


async def test_a_result_that_is_followed_is_held_against_its_kind(redis):
    async with dispatcher(redis) as (dispatch, *_):
        _, end = records(await dispatch.run(task(do="babble and ask")))
        assert (end.status, end.error.code, end.error.field) == (Status.FAILED, "result.invalid", "result")


async def test_no_step_to_follow_is_a_bare_result(redis):
    async with dispatcher(redis) as (dispatch, *_):
        (end,) = records(await dispatch.run(task(do="ask for more", times=0, note="all")))
        assert (end.status, end.next_id) == (Status.SUCCEEDED, None)


async def test_who_always_asks_for_more_ends(redis):
    async with dispatcher(redis) as (dispatch, *_):
        what = task(do="ask for more", note="ask for more")
        walked = 0
        while True:
            last = records(await dispatch.run(what))
            if last[-1].__class__ is not Task:
                break
            # What it finds in the result makes it ask again.
            what = msgspec.structs.replace(last[-1], payload=b'{"do":"ask for more","note":"ask for more"}')
            walked += 1
        assert (walked, last[-1].error.code, last[-1].error.field) == (MOST_STEPS, "result.then", "then")


@pytest.mark.parametrize(
    ("then", "field"),
    [
        ((Then("", {}),), "then.0.kind"),
        ((Then("a.b", {}), Then("a.b", {"x": {1, 2}, "y": object()})), "then.1.payload"),
        ((Then("a.b", {"x": ["{{ payload.y }}"]}),), "then.0.payload.x.0"),
        ((Then("a.b", {"x": deep(MOST_NESTED)}),), "then.0.payload"),
        ((Then("a.b", {"x": deep(900)}),), "then.0.payload"),
        ((Then("a.b", {"x": "y" * 1000}),), "then"),
        ((Then("a.b", {}),) * MOST_STEPS, "then"),
    ],
)
def test_what_no_step_can_be_made_of_names_the_field(then, field):
    with pytest.raises(FollowedError) as caught:
        follow(task(then=[OWN]), then, 900)
    assert caught.value.field == field
    assert not caught.value.retryable
