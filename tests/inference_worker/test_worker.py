"""The worker on a real Kafka, with the real model: tokens stream under a claim, and nothing is lost whoever dies."""

from __future__ import annotations

import base64
import json
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.settings import Settings
from barnabas.local import kafka
from barnabas.local.ports import FREE_PORTS
from barnabas.local.processes import WORKER
from barnabas.local.stack import LocalStack
from schemas.records import Cancel, DeltaType, FinishReason, Status
from schemas.tiers import Tier
from schemas.topics import CANCELLATIONS, INFERENCE, RESULTS, TOKENS
from tests.inference_worker.asking import ask, end_of, ended, submit
from tests.inference_worker.hearing import hear
from tests.support import Log, beside, produce, produce_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def worker(settings: Settings, tmp_path_factory) -> AsyncIterator[LocalStack]:
    async with beside(settings, tmp_path_factory.mktemp("worker") / "home", WORKER, deterministic=True) as running:
        await running.complete()
        yield running


async def test_an_answer_streams_under_a_claim(settings, worker):
    task = ask("Say hello.", payload={"temperature": 0})
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await submit(settings, task)
        events = await results.until(ended([task]))
        deltas = await tokens.until(lambda all_: any(d.type is DeltaType.END and d.task_id == task.id for d in all_))
    end = end_of(events, task)
    assert end.status is Status.SUCCEEDED
    answer = json.loads(end.result)
    mine = [delta for delta in deltas if delta.task_id == task.id]
    assert mine[0].type is DeltaType.CLAIM
    assert mine[0].digest == answer["digest"]
    assert mine[-1].type is DeltaType.END
    assert mine[-1].finish_reason == answer["finish_reason"]
    heard = hear(tokens, task)
    assert heard.text == answer["text"]
    assert "hello" in heard.text.lower()
    assert (end.tokens, answer["usage"]["completion_tokens"]) == (len(heard.ids), len(heard.ids))
    assert {delta.claim for delta in mine[1:]} == {end.claim}
    started = [event for event in events if event.task_id == task.id and event.status is Status.STARTED]
    assert len(started) == 1


async def test_a_large_request_is_read_from_its_blob_and_one_that_is_gone_is_an_error(settings, worker):
    task = ask("Say hello.", payload={"temperature": 0, "max_tokens": 4, "stop": []})
    put = await Blobs.of(worker.settings).put("me", task.payload)
    large = msgspec.structs.replace(task, owner="me", payload=b"{}", payload_ref=put.ref)
    gone = msgspec.structs.replace(ask(), owner="you", payload=b"{}", payload_ref=put.ref)
    async with Log(settings, RESULTS) as results:
        await submit(settings, large, gone)
        events = await results.until(ended([large, gone]))
    assert end_of(events, large).status is Status.SUCCEEDED
    end = end_of(events, gone)
    assert (end.status, end.error.code) == (Status.FAILED, "blob.missing")


async def test_many_run_at_once_in_all_tiers(settings, worker):
    tasks = [ask(f"Count to {n}.", tier) for n in range(4) for tier in Tier]
    async with Log(settings, RESULTS) as results:
        await submit(settings, *tasks)
        events = await results.until(ended(tasks))
    assert {end_of(events, task).status for task in tasks} == {Status.SUCCEEDED}


async def test_a_request_that_means_nothing_names_the_field(settings, worker):
    wrong = [
        (ask(payload={"temperature": 3}), "payload.invalid", "payload.temperature"),
        (ask(payload={"temprature": 1}), "payload.invalid", "payload.temprature"),
        (ask(payload={"model": "other"}), "llm.model_not_found", "payload.model"),
        (ask("word " * 5000), "llm.prompt_too_long", "payload.messages"),
        (ask(kind="llm.sing"), "payload.invalid", "kind"),
    ]
    tasks = [task for task, _, _ in wrong]
    async with Log(settings, RESULTS) as results:
        await submit(settings, *tasks)
        events = await results.until(ended(tasks))
    for task, code, field in wrong:
        end = end_of(events, task)
        assert (end.status, end.error.code, end.error.field) == (Status.FAILED, code, field)


async def test_texts_become_vectors_and_labels_get_probabilities(settings, worker):
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose by two percent."]
    wanted = [
        ask(kind="llm.embed", payload={"input": texts}),
        ask(kind="llm.embed", payload={"input": texts[1], "encoding_format": "base64", "dimensions": 64}),
        ask(
            kind="llm.classify", payload={"input": "The team won the cup.", "labels": ["sports", "politics", "cooking"]}
        ),
        ask(kind="llm.embed", payload={"input": ["a", "word " * 5000]}),
        ask(kind="llm.embed", payload={"input": "a"}, start_by=now_ms() - 1),
    ]
    async with Log(settings, RESULTS) as results:
        await submit(settings, *wanted)
        events = await results.until(ended(wanted))
    many, one, weighed, long, late = (end_of(events, task) for task in wanted)
    vectors = np.array([each["embedding"] for each in json.loads(many.result)["data"]])
    assert vectors.shape == (3, 576)
    likeness = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(likeness), 1, rtol=1e-5)
    assert likeness[0, 1] > max(likeness[0, 2], likeness[1, 2])
    packed = np.frombuffer(base64.b64decode(json.loads(one.result)["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(packed, vectors[1, :64] / np.linalg.norm(vectors[1, :64]), atol=1e-4)
    labels = json.loads(weighed.result)
    assert labels["label"] == "sports"
    assert sum(each["probability"] for each in labels["labels"]) == pytest.approx(1)
    assert (long.error.code, long.error.field) == ("llm.prompt_too_long", "payload.input.1")
    assert (late.status, late.error.code) == (Status.EXPIRED, "task.start_by")
    started = [event.task_id for event in events if event.status is Status.STARTED]
    assert sorted(started) == sorted(task.id for task in wanted[:3])


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
    task = ask(payload={"max_tokens": 1000})
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await submit(settings, task)
        await tokens.until(lambda all_: any(d.task_id == task.id and d.token_ids for d in all_))
        await produce(settings, CANCELLATIONS, task.key, Cancel(task_id=task.id, by="test", at=now_ms()))
        events = await results.until(ended([task]))
        deltas = await tokens.until(lambda all_: any(d.task_id == task.id and d.finish_reason for d in all_))
    assert end_of(events, task).status is Status.CANCELLED
    assert end_of(events, task).tokens < 1000
    assert deltas[-1].finish_reason is FinishReason.CANCELLED


async def test_a_request_stops_at_its_deadline_and_says_how_far_it_got(settings, worker):
    task = ask(payload={"max_tokens": 2000}, deadline=now_ms() + 3000)
    late = ask(start_by=now_ms() - 1)
    async with Log(settings, RESULTS) as results:
        await submit(settings, task, late)
        events = await results.until(ended([task, late]))
    end = end_of(events, task)
    assert (end.status, end.error.code) == (Status.EXPIRED, "task.deadline")
    assert 0 < end.tokens < 2000
    assert (end_of(events, late).status, end_of(events, late).error.code) == (Status.EXPIRED, "task.start_by")


@pytest.mark.long
async def test_killed_in_the_middle_of_its_answers_it_goes_on_with_the_same_words(settings, worker):
    lengths = [{"max_tokens": most, "temperature": 0.8} for most in (24, 28, 32, 36, 40)]
    undisturbed = [ask(f"Tell me about the number {n}.", payload=payload) for n, payload in enumerate(lengths)]
    disturbed = [ask(f"Tell me about the number {n}.", payload=payload) for n, payload in enumerate(lengths)]
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await submit(settings, *undisturbed)
        await results.until(ended(undisturbed))
        await submit(settings, *disturbed)
        await tokens.until(lambda _: all(len(hear(tokens, task).ids) > 8 for task in disturbed))
        said = [hear(tokens, task).ids for task in disturbed]
        assert not any(hear(tokens, task).finish for task in disturbed)
        killed = worker.pid(WORKER)
        os.kill(killed, signal.SIGKILL)
        events = await results.until(ended(disturbed), limit=120)
        ids = {task.id for task in (*undisturbed, *disturbed)}
        await tokens.until(lambda all_: ids <= {d.task_id for d in all_ if d.type is DeltaType.END})
    for ids, one, other in zip(said, undisturbed, disturbed, strict=True):
        whole, resumed = hear(tokens, one), hear(tokens, other)
        assert resumed.ids[: len(ids)] == ids
        assert (resumed.ids, resumed.text) == (whole.ids, whole.text)
        assert (len(whole.claims), len(resumed.claims)) == (1, 2)
        assert json.loads(end_of(events, other).result) == json.loads(end_of(events, one).result)
        assert sum(event.task_id == other.id and event.status.terminal for event in events) == 1


@pytest.mark.long
async def test_drained_in_the_middle_another_worker_goes_on(settings, worker):
    tasks = [ask(f"Tell me all about {n}.", payload={"max_tokens": 100}) for n in range(3)]
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await submit(settings, *tasks)
        await tokens.until(lambda all_: all(any(d.task_id == t.id and d.token_ids for d in all_) for t in tasks))
        os.kill(worker.pid(WORKER), signal.SIGTERM)
        events = await results.until(ended(tasks), limit=120)
        ids = {task.id for task in tasks}
        await tokens.until(lambda all_: ids <= {d.task_id for d in all_ if d.type is DeltaType.END})
    assert {end_of(events, task).status for task in tasks} == {Status.SUCCEEDED}
    for task in tasks:
        assert hear(tokens, task).text == json.loads(end_of(events, task).result)["text"]


@pytest.mark.long
async def test_a_broker_without_kip_848_groups_is_served_in_a_classic_one(monkeypatch, tmp_path):
    older = f"{kafka.PROPERTIES}\ngroup.coordinator.rebalance.protocols=classic\n"
    monkeypatch.setattr(kafka, "PROPERTIES", older)
    task = ask()
    settings = Settings(home=tmp_path / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("kafka", "valkey", WORKER)) as running:
        await running.complete()
        async with Log(running.settings, RESULTS) as results:
            await submit(running.settings, task)
            events = await results.until(ended([task]))
        log = (settings.home / "logs" / f"{WORKER}.log").read_text()
    assert end_of(events, task).status is Status.SUCCEEDED
    assert "intake.classic" in log
