"""The worker on a real Kafka, with the real model: tokens stream under a claim, and nothing is lost whoever dies."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.ids import new_id
from backbone.settings import Settings
from barnabas.local import kafka
from barnabas.local.ports import FREE_PORTS
from barnabas.local.processes import WORKER
from barnabas.local.stack import LocalStack
from schemas.records import Cancel, DeltaType, FinishReason, Status, Task
from schemas.tiers import Tier
from schemas.topics import CANCELLATIONS, INFERENCE, RESULTS, TOKENS
from tests.support import Log, beside, produce, produce_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def worker(settings: Settings, tmp_path_factory) -> AsyncIterator[LocalStack]:
    async with beside(settings, tmp_path_factory.mktemp("worker") / "home", WORKER, deterministic=True) as running:
        await running.complete()
        yield running


def _task(
    prompt: str = "Tell me a long story about a cat.", tier: Tier = Tier.URGENT, kind: str = "llm.chat", **more: Any
) -> Task:
    payload = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "seed": 5} | more.pop("payload", {})
    task_id = new_id()
    times = {"created_at": now_ms(), "start_by": now_ms() + 60_000, "deadline": now_ms() + 120_000} | more
    return Task(id=task_id, key=task_id, kind=kind, tier=tier, payload=json.dumps(payload).encode(), **times)


async def _submit(settings: Settings, *tasks: Task) -> None:
    for task in tasks:
        await produce(settings, INFERENCE[task.tier or Tier.URGENT], task.key, task)


def _ends(tasks: list[Task]) -> Any:
    ids = {task.id for task in tasks}
    return lambda events: ids <= {event.task_id for event in events if event.status.terminal}


def _end_of(events: list[Any], task: Task) -> Any:
    return next(event for event in events if event.task_id == task.id and event.status.terminal)


def _read(deltas: list[Any], task: Task) -> tuple[list[int], str]:
    """Read a request's tokens as any reader does: in log order, of the latest claim, without holes."""
    claims = [delta for delta in deltas if delta.task_id == task.id and delta.type is DeltaType.CLAIM]
    assert claims
    epochs = list(dict.fromkeys(d.claim for d in deltas if d.task_id == task.id and d.type is not DeltaType.CLAIM))
    ids: list[int] = []
    text = ""
    latest = -1
    for delta in (d for d in deltas if d.task_id == task.id and d.type is not DeltaType.CLAIM):
        if epochs.index(delta.claim) < latest:
            continue
        latest = epochs.index(delta.claim)
        assert delta.index == len(ids)
        ids += delta.token_ids
        text += delta.text
    return ids, text


async def test_an_answer_streams_under_a_claim(settings, worker):
    task = _task("Say hello.", payload={"temperature": 0})
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await _submit(settings, task)
        events = await results.until(_ends([task]))
        deltas = await tokens.until(lambda all_: any(d.type is DeltaType.END and d.task_id == task.id for d in all_))
    end = _end_of(events, task)
    assert end.status is Status.SUCCEEDED
    answer = json.loads(end.result)
    mine = [delta for delta in deltas if delta.task_id == task.id]
    assert mine[0].type is DeltaType.CLAIM
    assert mine[0].digest == answer["digest"]
    assert mine[-1].type is DeltaType.END
    assert mine[-1].finish_reason == answer["finish_reason"]
    ids, text = _read(mine, task)
    assert text == answer["text"]
    assert "hello" in text.lower()
    assert (end.tokens, answer["usage"]["completion_tokens"]) == (len(ids), len(ids))
    assert {delta.claim for delta in mine[1:]} == {end.claim}
    started = [event for event in events if event.task_id == task.id and event.status is Status.STARTED]
    assert len(started) == 1


async def test_a_large_request_is_read_from_its_blob_and_one_that_is_gone_is_an_error(settings, worker):
    task = _task("Say hello.", payload={"temperature": 0, "max_tokens": 4, "stop": []})
    put = await Blobs.of(worker.settings).put("me", task.payload)
    large = msgspec.structs.replace(task, owner="me", payload=b"{}", payload_ref=put.ref)
    gone = msgspec.structs.replace(_task(), owner="you", payload=b"{}", payload_ref=put.ref)
    async with Log(settings, RESULTS) as results:
        await _submit(settings, large, gone)
        events = await results.until(_ends([large, gone]))
    assert _end_of(events, large).status is Status.SUCCEEDED
    end = _end_of(events, gone)
    assert (end.status, end.error.code) == (Status.FAILED, "blob.missing")


async def test_many_run_at_once_in_all_tiers(settings, worker):
    tasks = [_task(f"Count to {n}.", tier) for n in range(4) for tier in Tier]
    async with Log(settings, RESULTS) as results:
        await _submit(settings, *tasks)
        events = await results.until(_ends(tasks))
    assert {_end_of(events, task).status for task in tasks} == {Status.SUCCEEDED}


async def test_a_request_that_means_nothing_names_the_field(settings, worker):
    wrong = [
        (_task(payload={"temperature": 3}), "payload.invalid", "payload.temperature"),
        (_task(payload={"temprature": 1}), "payload.invalid", "payload.temprature"),
        (_task(payload={"model": "other"}), "llm.model_not_found", "payload.model"),
        (_task("word " * 5000), "llm.prompt_too_long", "payload.messages"),
        (_task(kind="llm.sing"), "payload.invalid", "kind"),
    ]
    tasks = [task for task, _, _ in wrong]
    async with Log(settings, RESULTS) as results:
        await _submit(settings, *tasks)
        events = await results.until(_ends(tasks))
    for task, code, field in wrong:
        end = _end_of(events, task)
        assert (end.status, end.error.code, end.error.field) == (Status.FAILED, code, field)


async def test_a_client_may_produce_json_without_a_key(settings, worker):
    payload = {"prompt": "One, two, three,", "max_tokens": 4, "temperature": 0}
    async with Log(settings, RESULTS) as results:
        await produce_bytes(
            settings, INFERENCE[Tier.REALTIME], json.dumps({"kind": "llm.complete", "payload": payload}).encode()
        )
        events = await results.until(lambda all_: any(e.status.terminal and e.kind == "llm.complete" for e in all_))
    end = next(event for event in events if event.kind == "llm.complete" and event.status.terminal)
    assert end.status is Status.SUCCEEDED
    assert "four" in json.loads(end.result)["text"]


async def test_a_cancelled_request_stops(settings, worker):
    task = _task(payload={"max_tokens": 1000})
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await _submit(settings, task)
        await tokens.until(lambda all_: any(d.task_id == task.id and d.token_ids for d in all_))
        await produce(settings, CANCELLATIONS, task.key, Cancel(task_id=task.id, by="test", at=now_ms()))
        events = await results.until(_ends([task]))
        deltas = await tokens.until(lambda all_: any(d.task_id == task.id and d.finish_reason for d in all_))
    assert _end_of(events, task).status is Status.CANCELLED
    assert _end_of(events, task).tokens < 1000
    assert deltas[-1].finish_reason is FinishReason.CANCELLED


async def test_a_request_stops_at_its_deadline_and_says_how_far_it_got(settings, worker):
    task = _task(payload={"max_tokens": 2000}, deadline=now_ms() + 3000)
    late = _task(start_by=now_ms() - 1)
    async with Log(settings, RESULTS) as results:
        await _submit(settings, task, late)
        events = await results.until(_ends([task, late]))
    end = _end_of(events, task)
    assert (end.status, end.error.code) == (Status.EXPIRED, "task.deadline")
    assert 0 < end.tokens < 2000
    assert (_end_of(events, late).status, _end_of(events, late).error.code) == (Status.EXPIRED, "task.start_by")


async def test_killed_in_the_middle_of_its_answers_it_goes_on_with_the_same_words(settings, worker):
    options = {"max_tokens": 60, "temperature": 0.8}
    undisturbed = [_task(f"Tell me about the number {n}.", payload=options) for n in range(5)]
    disturbed = [_task(f"Tell me about the number {n}.", payload=options) for n in range(5)]
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await _submit(settings, *undisturbed)
        await results.until(_ends(undisturbed))
        await _submit(settings, *disturbed)

        def midway(deltas: list[Any]) -> bool:
            return all(sum(len(d.token_ids) for d in deltas if d.task_id == task.id) > 8 for task in disturbed)

        await tokens.until(midway)
        assert not _ends(disturbed)(results.records)
        killed = worker.pid(WORKER)
        os.kill(killed, signal.SIGKILL)
        events = await results.until(_ends(disturbed), limit=120)
        ids = {task.id for task in disturbed}
        deltas = await tokens.until(lambda all_: ids <= {d.task_id for d in all_ if d.type is DeltaType.END})
    assert sum(d.type is DeltaType.CLAIM for d in deltas if d.task_id in ids) > len(disturbed)
    for one, other in zip(undisturbed, disturbed, strict=True):
        assert _read(deltas, other) == _read(deltas, one)
        assert json.loads(_end_of(events, other).result) == json.loads(_end_of(events, one).result)
        assert sum(event.task_id == other.id and event.status.terminal for event in events) == 1


async def test_drained_in_the_middle_another_worker_goes_on(settings, worker):
    tasks = [_task(f"Tell me all about {n}.", payload={"max_tokens": 100}) for n in range(3)]
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await _submit(settings, *tasks)
        await tokens.until(lambda all_: all(any(d.task_id == t.id and d.token_ids for d in all_) for t in tasks))
        os.kill(worker.pid(WORKER), signal.SIGTERM)
        events = await results.until(_ends(tasks), limit=120)
        ids = {task.id for task in tasks}
        await tokens.until(lambda all_: ids <= {d.task_id for d in all_ if d.type is DeltaType.END})
    assert {_end_of(events, task).status for task in tasks} == {Status.SUCCEEDED}
    for task in tasks:
        assert _read(tokens.records, task)[1] == json.loads(_end_of(events, task).result)["text"]


@pytest.mark.long
async def test_a_broker_without_kip_848_groups_is_served_in_a_classic_one(monkeypatch, tmp_path):
    older = f"{kafka.PROPERTIES}\ngroup.coordinator.rebalance.protocols=classic\n"
    monkeypatch.setattr(kafka, "PROPERTIES", older)
    task = _task()
    settings = Settings(home=tmp_path / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("kafka", "valkey", WORKER)) as running:
        await running.complete()
        async with Log(running.settings, RESULTS) as results:
            await _submit(running.settings, task)
            events = await results.until(_ends([task]))
        log = (settings.home / "logs" / f"{WORKER}.log").read_text()
    assert _end_of(events, task).status is Status.SUCCEEDED
    assert "intake.classic" in log
