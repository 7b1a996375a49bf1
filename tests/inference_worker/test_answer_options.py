"""What a request asks of its answer, on a real Kafka and with the real model, and over the death of a worker as well."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest

from barnabas.local.processes import WORKER
from schemas.records import DeltaType, Status
from schemas.topics import RESULTS, TOKENS
from tests.inference_worker.asking import ask, end_of, ended, submit
from tests.support import Log, beside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.settings import Settings
    from barnabas.local.stack import LocalStack

pytestmark = pytest.mark.stack

PEOPLE = {
    "type": "array",
    "minItems": 3,
    "maxItems": 3,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 16},
            "age": {"type": "integer", "minimum": 1, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
}
OPTIONS = {
    "max_tokens": 200,
    "temperature": 0.8,
    "logprobs": True,
    "top_logprobs": 2,
    "bad_words": ["John", "Alice"],
    "presence_penalty": 0.3,
    "repetition_penalty": 1.05,
    "response_format": {"type": "json_schema", "json_schema": {"name": "people", "schema": PEOPLE}},
}


@pytest.fixture(scope="module")
async def worker(settings: Settings, tmp_path_factory) -> AsyncIterator[LocalStack]:
    async with beside(settings, tmp_path_factory.mktemp("options") / "home", WORKER, deterministic=True) as running:
        await running.complete()
        yield running


def _seen(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer with log probabilities as exact as two computations of a prefix are."""
    entries = [(entry["token"], entry["bytes"], round(entry["logprob"], 3)) for entry in answer["logprobs"]]
    return {**answer, "logprobs": entries}


async def test_all_options_together_and_over_a_death(settings, worker):
    undisturbed, disturbed = (ask("List three people as JSON.", payload=OPTIONS) for _ in range(2))
    async with Log(settings, TOKENS) as tokens, Log(settings, RESULTS) as results:
        await submit(settings, undisturbed)
        await results.until(ended([undisturbed]))
        await submit(settings, disturbed)
        await tokens.until(lambda all_: sum(len(d.token_ids) for d in all_ if d.task_id == disturbed.id) > 5)
        os.kill(worker.pid(WORKER), signal.SIGKILL)
        events = await results.until(ended([disturbed]), limit=120)
        ends = {undisturbed.id, disturbed.id}
        deltas = await tokens.until(lambda all_: ends <= {d.task_id for d in all_ if d.type is DeltaType.END})
    assert sum(d.type is DeltaType.CLAIM for d in deltas if d.task_id == disturbed.id) > 1
    answers = [json.loads(end_of(events, task).result) for task in (undisturbed, disturbed)]
    assert _seen(answers[0]) == _seen(answers[1])
    (answer, _), entries = answers, answers[0]["logprobs"]
    jsonschema.validate(json.loads(answer["text"]), PEOPLE)
    assert answer["finish_reason"] == "stop"
    assert not any(word in answer["text"] for word in OPTIONS["bad_words"])
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == answer["text"]
    assert len(entries) == answer["usage"]["completion_tokens"]
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] <= 0 for entry in entries)
    logged = [d for d in deltas if d.task_id == undisturbed.id and d.type is DeltaType.TOKENS]
    assert all(len(msgspec.json.decode(delta.logprobs)) == len(delta.token_ids) for delta in logged)


async def test_what_can_not_be_kept_to_is_an_error_and_disturbs_nobody(settings, worker):
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    bomb = {"type": "string", "pattern": "^((a{1000}){1000}){1000}$"}
    wrong = [
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}}, "llm.constraint"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": bomb}}}, "llm.constraint"),
        ({"tools": [tool]}, "llm.unsupported"),
    ]
    tasks = [ask(payload=payload) for payload, _ in wrong]
    fine = ask("Say hello.", payload={"temperature": 0})
    async with Log(settings, RESULTS) as results:
        await submit(settings, *tasks, fine)
        events = await results.until(ended([*tasks, fine]))
    for task, (_, code) in zip(tasks, wrong, strict=True):
        assert (end_of(events, task).status, end_of(events, task).error.code) == (Status.FAILED, code)
    assert end_of(events, fine).status is Status.SUCCEEDED
    assert "logprobs" not in json.loads(end_of(events, fine).result)
