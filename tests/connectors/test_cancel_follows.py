"""Cancelling a task reaches the part of its work that is not over, also one that waits in a timer."""

from __future__ import annotations

import msgspec
import pytest

from backbone import outcome
from backbone.clock import now_ms
from backbone.outcomes import OutcomeStore
from backbone.redis import connect
from schemas.records import Status
from schemas.topics import RESULTS
from tests.connectors.conftest import task_of


@pytest.mark.parametrize("delay", [0, 60_000])
async def test_the_part_that_is_to_follow_is_cancelled_for_the_one_that_was_submitted(edge, services, settings, delay):
    receipt = (await edge.http.post("/v1/tasks", json={"kind": "test.echo", "payload": {"x": 1}})).json()
    now = now_ms()
    deadline = now + 600_000
    task = msgspec.structs.replace(task_of(receipt), deadline=deadline, start_by=deadline, created_at=now)
    policy = settings.tiers[task.tier]
    part = outcome.continued(task, b'{"x":2}', policy=policy, delay=delay, now=now, worker="tests")
    rest = outcome.successor(part.records)
    redis = connect(settings)
    await OutcomeStore(redis, settings).settle(part)
    end = next(out.record for out in part.records if out.topic is RESULTS)
    await services.producer.send(RESULTS, end.key, end)
    await edge.until(f"/v1/tasks/{task.id}", lambda body: body.get("next") == rest.id)
    cancelled = await edge.http.delete(f"/v1/tasks/{task.id}")
    assert (cancelled.status_code, cancelled.json()["id"], cancelled.json()["status"]) == (200, rest.id, "cancelled")
    (told,) = await OutcomeStore(redis, settings).find(rest)
    await redis.aclose()
    assert (told.record.status, told.record.task_id) == (Status.CANCELLED, rest.id)
    assert (await edge.http.delete(f"/v1/tasks/{task.id}")).json()["code"] == "task.ended"
