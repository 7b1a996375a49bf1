"""The worker with a model that a real server runs (llama.cpp): through Kafka, whoever is killed in mid-stream.

What was said is read by `hearing`, which knows the contract alone: that the tokens' ids mean nothing is no matter to it.
"""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from backbone.clock import now_ms
from backbone.settings import Settings
from inference_worker.errors import RemoteDeniedError
from inference_worker.remote.client import Client
from inference_worker.remote.model import RemoteModel
from schemas.records import DeltaType, FinishReason, Status
from schemas.tiers import Tier
from tests.inference_worker import llama_server
from tests.inference_worker.asking import ask, end_of, ended, submit
from tests.inference_worker.fleet import Fleet, end
from tests.inference_worker.hearing import Listening
from tests.inference_worker.llama_server import LlamaServer
from tests.inference_worker.test_remote_body import USER, chat, complete
from tests.inference_worker.test_remote_model import a_run, hear, text_of
from tests.support import apart

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from schemas.records import Task

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
async def llama(tmp_path_factory) -> AsyncIterator[LlamaServer]:
    async with LlamaServer(tmp_path_factory.mktemp("llama") / "server.log") as running:
        yield running


def _settings(llama: LlamaServer) -> dict[str, Any]:
    return {"remote_url": llama.url, "remote_api_key": SecretStr(llama_server.KEY), "model": llama_server.NAME}


@pytest.fixture(scope="module")
async def model(llama) -> AsyncIterator[RemoteModel]:
    model = await RemoteModel.open(Settings(**_settings(llama)), now_ms, lambda _: None)
    yield model
    await model.stop()


@pytest.fixture(scope="module")
async def own(stack) -> Settings:
    return await apart(stack.settings, "remote")


@pytest.fixture(scope="module")
async def fleet(own, llama, tmp_path_factory) -> AsyncIterator[Fleet]:
    more = {"inference_slots": llama_server.STREAMS, "remote_patience": timedelta(seconds=120)}
    async with Fleet(own, tmp_path_factory.mktemp("remote"), **_settings(llama), **more) as workers:
        yield workers


async def _long(fleet: Fleet, worker: Process, most: int = 150, **more: Any) -> Task:
    """Return a request for a long answer that a worker will get."""
    payload = {"max_tokens": most, "temperature": 0, "ignore_eos": True}
    return ask("Count from one.", Tier.BATCH, key=await fleet.key_of(worker, Tier.BATCH), payload=payload, **more)


async def test_a_greedy_answer_that_is_gone_on_with_is_the_same(model):
    request = chat(messages=[{"role": "user", "content": "Count from one to ten."}], temperature=0, max_tokens=24)
    whole = await hear(model, a_run(request))
    pieces = [output.text for output in whole if output.tokens]
    assert (len(pieces), whole[-1].finish) == (24, FinishReason.LENGTH)
    for cut in (1, 5, 11):
        said = "".join(pieces[:cut])
        rest = await hear(model, a_run(request, said, cut))
        assert said + text_of(rest) == text_of(whole)
        assert rest[-1].usage == whole[-1].usage


async def test_a_completion_stops_where_it_is_to_and_counts(model):
    request = complete(prompt="One, two, three,", temperature=0, max_tokens=9, stop=[" six"])
    heard = await hear(model, a_run(request))
    assert (text_of(heard), heard[-1].finish) == (" four, five,", FinishReason.STOP)
    assert heard[-1].usage.prompt_tokens == 6


async def test_an_answer_keeps_to_its_schema_and_has_log_probabilities(model):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    heard = await hear(model, a_run(chat(response_format=form, logprobs=True, top_logprobs=2, max_tokens=60)))
    assert isinstance(json.loads(text_of(heard))["n"], int)
    entries = [entry for output in heard for entry in output.logprobs]
    assert len(entries) == sum(len(output.tokens) for output in heard)
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


async def test_a_prompt_that_is_too_long_is_told_as_such(model):
    run = a_run(chat(messages=[USER | {"content": "word " * 5000}]))
    await hear(model, run)
    assert run.failure
    assert run.failure.code == "llm.prompt_too_long"


async def test_a_wrong_key_is_not_taken(llama):
    client = Client(llama.url, "wrong", silence=10, connections=1, now=now_ms)
    with pytest.raises(RemoteDeniedError):
        async with client.ask("chat/completions", {}):
            pass
    await client.aclose()


async def test_an_answer_streams_through_kafka_and_ends_with_its_usage(own, fleet):
    await fleet.ready(1)
    task = ask("Say hello.", payload={"temperature": 0})
    wrong = ask(payload={"min_tokens": 3})
    async with Listening(own) as log:
        await submit(own, task, wrong)
        await log.results.until(ended([task, wrong]))
        await log.until([task], lambda heard: heard.finish)
    heard, event = log.heard(task), end_of(log.results.records, task)
    result = json.loads(event.result)
    assert "hello" in heard.text.lower()
    assert (event.status, result["text"], event.tokens) == (Status.SUCCEEDED, heard.text, len(heard.ids))
    # The server counts the token that ended the answer, which has no text.
    assert result["usage"]["completion_tokens"] == len(heard.ids) + 1
    assert result["usage"]["prompt_tokens"] > 10
    claim = next(delta for delta in log.tokens.records if delta.type is DeltaType.CLAIM and delta.task_id == task.id)
    assert (claim.format, claim.model, claim.digest) == ("remote", llama_server.NAME, result["digest"])
    refused = end_of(log.results.records, wrong)
    assert (refused.error.code, refused.error.field) == ("llm.unsupported", "payload.min_tokens")


async def test_a_cancel_and_a_deadline_end_it(own, fleet):
    (ada,) = await fleet.ready(1)
    cancelled = await _long(fleet, ada, 1500)
    late = await _long(fleet, ada, 1500, deadline=now_ms() + 6_000)
    async with Listening(own) as log:
        await submit(own, cancelled, late)
        await log.until([cancelled], lambda heard: heard.ids)
        await log.cancel([cancelled])
        await log.results.until(ended([cancelled, late]))
    event = end_of(log.results.records, late)
    assert (event.status, event.error.code) == (Status.EXPIRED, "task.deadline")
    assert end_of(log.results.records, cancelled).status is Status.CANCELLED


async def test_the_server_is_killed_in_mid_stream_and_the_answer_goes_on_when_it_is_back(own, fleet, llama):
    (ada,) = await fleet.ready(1)
    cut = await _long(fleet, ada)
    async with Listening(own) as log:
        await submit(own, cut)
        await log.until([cut], lambda heard: len(heard.ids) >= 20)
        await llama.kill()
        before = log.heard(cut).text
        assert log.heard(cut).finish is None
        await llama.start()
        await log.results.until(ended([cut]))
        await log.until([cut], lambda heard: heard.finish)
    heard = log.heard(cut)
    assert heard.text.startswith(before)
    assert (len(heard.claims), heard.finish) == (1, FinishReason.LENGTH)
    assert len(before) < len(heard.text)


async def test_a_worker_is_killed_in_mid_stream_and_another_goes_on(own, fleet):
    ada, bob = await fleet.ready(2)
    tasks = [await _long(fleet, ada), await _long(fleet, ada)]
    async with Listening(own) as log:
        await submit(own, *tasks)
        await log.until(tasks, lambda heard: len(heard.ids) >= 20)
        await end(ada, signal.SIGKILL)
        await log.until(tasks, lambda heard: len(heard.claims) == 2)
        before = [log.heard(task).text for task in tasks]
        await log.results.until(ended(tasks), limit=120)
        await log.until(tasks, lambda heard: heard.finish)
        await fleet.settled(bob)
    for task, said in zip(tasks, before, strict=True):
        heard = log.heard(task)
        assert (len(heard.claims), heard.finish) == (2, FinishReason.LENGTH)
        assert heard.text.startswith(said)
        assert len(said) < len(heard.text)
        assert json.loads(end_of(log.results.records, task).result)["text"] == heard.text


async def test_urgent_begins_while_others_wait(own, fleet, llama):
    (ada,) = await fleet.ready(1)
    flood = [await _long(fleet, ada, 60) for _ in range(12)]
    async with Listening(own) as log:
        await submit(own, *flood)
        await log.until(flood[:1], lambda heard: heard.ids)
        urgent = ask("Say hello.", payload={"max_tokens": 5})
        await submit(own, urgent)
        await log.results.until(ended([urgent]))
        open_still = [task for task in flood if not log.heard(task).finish]
        assert len(open_still) > 4
        await asyncio.gather(log.cancel(open_still))
