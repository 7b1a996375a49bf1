"""Chains through the real edge and tiers: steps follow one another, fail where they fail, and are cancelled whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from barnabas.errors import EdgeError, TaskCancelledError, TaskExpiredError, TaskFailedError
from barnabas.replies import Event, Step
from schemas.records import Status
from schemas.tiers import Tier

DAILY = {"expression": "@daily", "after": "2026-01-01T00:00:00Z", "count": 2}


def again(tier: Tier | None = None, path: str = "result.expression") -> Step:
    return Step(kind="cron.parse", tier=tier, payload={"expression": f"{{{{ {path} }}}}", "count": 1})


async def test_each_step_gets_what_the_one_before_found_and_the_last_one_is_the_result(client):
    receipt = await client.submit("cron.parse", DAILY, then=[again(Tier.BATCH), again(Tier.REALTIME)])
    heard = []
    result = await client.result(receipt, watch=heard.append, timeout=60)
    assert (result.value["expression"], len(result.value["fires"])) == ("@daily", 1)
    ends = [frame for frame in heard if isinstance(frame, Event) and frame.status.terminal]
    assert [(end.step, end.tier) for end in ends] == [(0, "realtime"), (1, "batch"), (2, "realtime")]
    assert [end.next for end in ends] == [ends[1].task, ends[2].task, None]
    assert ends[-1].task == result.task


async def test_one_who_comes_later_hears_the_whole_chain(client):
    receipt = await client.submit("cron.parse", DAILY, then=[again(), again()])
    await client.result(receipt, timeout=60)
    heard = [frame async for frame in client.events(receipt)]
    assert [frame.step for frame in heard if frame.status is Status.SUCCEEDED] == [0, 1, 2]
    state = await client.state(receipt)
    assert (state.status, state.next, state.root) == ("succeeded", heard[-1].task and state.next, receipt.id)


async def test_a_step_that_finds_nothing_ends_the_chain_and_says_which_and_why(client):
    receipt = await client.submit("cron.parse", DAILY, then=[again(path="result.nothing"), again()])
    with pytest.raises(TaskFailedError, match="nothing") as caught:
        await client.result(receipt, timeout=60)
    assert (caught.value.code, caught.value.field) == ("step.invalid", "payload.expression")
    assert (await client.state(caught.value.task_id)).step == 1


async def test_a_step_whose_handler_refuses_ends_the_chain(client):
    bad = Step(kind="cron.parse", payload={"expression": "{{ result.description }}"})
    receipt = await client.submit("cron.parse", DAILY, then=[bad, again()])
    with pytest.raises(TaskFailedError) as caught:
        await client.result(receipt, timeout=60)
    assert (caught.value.code, caught.value.field) == ("payload.invalid", "payload.expression")


async def test_an_end_of_the_chain_bounds_all_steps(client):
    past = datetime.now(UTC) - timedelta(seconds=1)
    receipt = await client.submit("cron.parse", DAILY, then=[again()], deadline=past)
    with pytest.raises(TaskExpiredError):
        await client.result(receipt, timeout=60)


async def test_cancelling_the_first_task_stops_the_step_that_waits(client):
    """The low tier has no process in this house: its step waits until it is cancelled."""
    receipt = await client.submit("cron.parse", DAILY, then=[again(Tier.LOW), again()])
    async for frame in client.events(receipt):
        if frame.status is Status.SUCCEEDED:
            cancelled = await client.cancel(receipt)
            assert (cancelled.id, cancelled.status, cancelled.step) == (frame.next, "cancelled", 1)
    assert (frame.status, frame.step) == (Status.CANCELLED, 1)
    with pytest.raises(TaskCancelledError):
        await client.result(receipt, timeout=60)
    with pytest.raises(EdgeError) as caught:
        await client.cancel(receipt)
    assert caught.value.code == "task.ended"


@pytest.mark.parametrize(
    ("step", "code", "field"),
    [
        (Step(kind="no.such", payload={}), "kind.unknown", "then.1.kind"),
        (Step(kind="cron.parse", payload={"expression": 5}), "payload.invalid", "then.1.payload.expression"),
        (Step(kind="cron.parse", payload={"expression": "{{ 7*7 }}"}), "payload.invalid", "then.1.payload.expression"),
    ],
)
async def test_a_step_that_can_never_run_is_refused_at_once(client, step, code, field):
    with pytest.raises(EdgeError) as caught:
        await client.submit("cron.parse", DAILY, then=[again(), step])
    assert (caught.value.code, caught.value.field) == (code, field)


def test_the_command_line_shows_the_chain_as_it_runs(house, monkeypatch):
    from barnabas.cli import app

    monkeypatch.setenv("BARNABAS_URL", house.edge_url)
    monkeypatch.setenv("BARNABAS_API_KEY", house.home.api_key.read_text().strip())
    step = 'cron.parse@batch={"expression": "{{ result.expression }}", "count": 1}'
    done = CliRunner().invoke(app, ["submit", "cron.parse", json.dumps(DAILY), "--then", step])
    assert done.exit_code == 0, done.output
    assert "batch succeeded" in done.stderr
    assert len(json.loads(done.stdout)["fires"]) == 1
