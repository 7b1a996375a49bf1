"""Payloads: strict bounds, and an error that names the field."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.errors import RequestError
from inference_worker.kinds import announcements
from inference_worker.requests import ChatRequest, parse

_chat = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("kind", "payload", "field"),
    [
        ("llm.chat", {}, "payload.messages"),
        ("llm.chat", {"messages": []}, "payload.messages"),
        ("llm.chat", {"messages": [{"role": "robot", "content": ""}]}, "payload.messages.0.role"),
        ("llm.chat", {**_chat, "temperature": 2.1}, "payload.temperature"),
        ("llm.chat", {**_chat, "top_p": 0}, "payload.top_p"),
        ("llm.chat", {**_chat, "max_tokens": 0}, "payload.max_tokens"),
        ("llm.chat", {**_chat, "stop": ["a"] * 5}, "payload.stop"),
        ("llm.chat", {**_chat, "stop": [""]}, "payload.stop.0"),
        ("llm.chat", {**_chat, "seed": -1}, "payload.seed"),
        ("llm.chat", {**_chat, "tempo": 1}, "payload.tempo"),
        ("llm.chat", {"messages": [{"role": "user", "content": 5}]}, "payload.messages.0.content"),
        ("llm.chat", {"messages": [{"role": "user", "content": []}]}, "payload.messages.0.content"),
        (
            "llm.chat",
            {"messages": [{"role": "user", "content": [{"type": "data", "text": 5}]}]},
            "payload.messages.0.content.0.text",
        ),
        (
            "llm.chat",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "source": "y"}]}]},
            "payload.messages.0.content.0",
        ),
        ("llm.complete", _chat, "payload.prompt"),
        ("llm.complete", {"prompt": ""}, "payload.prompt"),
        ("llm.draw", {}, "kind"),
    ],
)
def test_what_is_wrong_is_named(kind, payload, field):
    with pytest.raises(RequestError) as caught:
        parse(kind, json.dumps(payload).encode())
    assert caught.value.field == field


@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_an_error(payload):
    try:
        assert isinstance(parse("llm.chat", payload), ChatRequest)
    except RequestError as error:
        assert (error.field or "").startswith("payload")


def test_the_kinds_are_announced_with_their_schemas():
    kinds = {kind.kind: kind for kind in announcements()}
    assert set(kinds) == {"llm.chat", "llm.complete"}
    schema = json.loads(kinds["llm.chat"].payload_schema)
    assert schema["required"] == ["messages"]
    assert "text" in json.loads(kinds["llm.chat"].result_schema)["properties"]
    assert all(kind.description for kind in kinds.values())
