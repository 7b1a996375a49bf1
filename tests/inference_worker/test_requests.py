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
_call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("kind", "payload", "field"),
    [
        ("llm.embed", {}, "payload.input"),
        ("llm.embed", {"input": ""}, "payload.input"),
        ("llm.embed", {"input": []}, "payload.input"),
        ("llm.embed", {"input": ["a", ""]}, "payload.input.1"),
        ("llm.embed", {"input": "a", "pooling": "max"}, "payload.pooling"),
        ("llm.embed", {"input": "a", "dimensions": 0}, "payload.dimensions"),
        ("llm.embed", {"input": "a", "encoding_format": "hex"}, "payload.encoding_format"),
        ("llm.embed", {"input": "a", "max_tokens": 1}, "payload.max_tokens"),
        ("llm.classify", {"input": "a"}, "payload.labels"),
        ("llm.classify", {"input": "a", "labels": ["b"]}, "payload.labels"),
        ("llm.classify", {"input": "a", "labels": ["b", ""]}, "payload.labels.1"),
        ("llm.classify", {"input": "a", "labels": ["b", {"name": "b"}]}, "payload.labels"),
        ("llm.classify", {"input": "a", "labels": ["b", {"name": "c", "about": "d"}]}, "payload.labels.1.about"),
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
        ("llm.chat", {"messages": [{"role": "user"}]}, "payload.messages.0"),
        ("llm.chat", {"messages": [{"role": "user", "content": "", "tool_call_id": "c"}]}, "payload.messages.0"),
        (
            "llm.chat",
            {"messages": [{"role": "user", "content": "", "tool_calls": [_call]}]},
            "payload.messages.0",
        ),
        (
            "llm.chat",
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{**_call, "function": {"name": "f", "arguments": "[]"}}]}
                ]
            },
            "payload.messages.0.tool_calls.0.function.arguments",
        ),
        ("llm.chat", {**_chat, "continue_final_message": True}, "payload"),
        (
            "llm.chat",
            {**_chat, "tools": [{"type": "function", "function": {"name": ""}}]},
            "payload.tools.0.function.name",
        ),
        ("llm.chat", {**_chat, "min_p": 1.1}, "payload.min_p"),
        ("llm.chat", {**_chat, "repetition_penalty": 0}, "payload.repetition_penalty"),
        ("llm.chat", {**_chat, "presence_penalty": 2.1}, "payload.presence_penalty"),
        ("llm.chat", {**_chat, "frequency_penalty": -2.1}, "payload.frequency_penalty"),
        ("llm.chat", {**_chat, "bad_words": [""]}, "payload.bad_words.0"),
        ("llm.chat", {**_chat, "top_logprobs": 3}, "payload"),
        ("llm.chat", {**_chat, "logprobs": True, "top_logprobs": 21}, "payload.top_logprobs"),
        ("llm.chat", {**_chat, "min_tokens": 9, "max_tokens": 8}, "payload"),
        ("llm.chat", {**_chat, "response_format": {"type": "yaml"}}, "payload.response_format"),
        ("llm.chat", {**_chat, "response_format": {"type": "regex"}}, "payload.response_format.regex"),
        (
            "llm.chat",
            {**_chat, "response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
            "payload.response_format.json_schema.schema",
        ),
        (
            "llm.chat",
            {**_chat, "response_format": {"type": "json_schema", "json_schema": {"schema": {"title": "x" * 70_000}}}},
            "payload.response_format.json_schema.schema",
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


def test_what_clients_of_openai_send_is_taken():
    request = parse(
        "llm.chat",
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": None, "tool_calls": [_call]},
                    {"role": "tool", "tool_call_id": "c", "content": "done"},
                ],
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
                ],
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {}}},
                "logprobs": True,
                "top_logprobs": 0,
                "frequency_penalty": 1,
            }
        ).encode(),
    )
    assert isinstance(request, ChatRequest)
    assert request.messages[1].said == ""
    assert request.response_format.json_schema.document == {}


@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_an_error(payload):
    try:
        assert isinstance(parse("llm.chat", payload), ChatRequest)
    except RequestError as error:
        assert (error.field or "").startswith("payload")


def test_the_kinds_are_announced_with_their_schemas():
    kinds = {kind.kind: kind for kind in announcements()}
    assert set(kinds) == {"llm.chat", "llm.complete", "llm.embed", "llm.classify"}
    schema = json.loads(kinds["llm.chat"].payload_schema)
    assert schema["required"] == ["messages"]
    assert "text" in json.loads(kinds["llm.chat"].result_schema)["properties"]
    assert all(kind.description for kind in kinds.values())
