"""What comes from a model's server: events however they are cut, chunks that are answers or none, and what they give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.errors import (
    FilteredError,
    PromptTooLongError,
    RemoteBusyError,
    RemoteDeniedError,
    RemoteError,
    RemoteRefusedError,
)
from inference_worker.remote import events
from inference_worker.remote.client import retry_after
from inference_worker.requests import ChatRequest
from inference_worker.tool_calls import parted
from schemas.records import FinishReason, Usage
from tests.inference_worker.faulty_server import counted, event, said
from tests.inference_worker.test_remote_body import USER, chat, run_of


def _chunk(data: bytes) -> events.Chunk:
    return events.chunk(data.removeprefix(b"data: ").strip())


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), min_size=1), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_events_are_whole_however_they_come(texts, newline, data):
    stream = "".join(f": a comment{newline}data: {text}{newline}{newline}" for text in texts).encode()
    lines, read, rest = events.Lines(), [], stream
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        read += lines.feed(rest[:cut])
        rest = rest[cut:]
    assert [one.decode() for one in read] == texts


def test_an_event_of_several_lines_is_one():
    assert list(events.Lines().feed(b'event: x\ndata: {"choices":\ndata:[]}\nid: 1\n\n')) == [b'{"choices":\n[]}']


def test_an_event_without_end_is_refused():
    lines = events.Lines()
    for _ in range(10):
        assert not list(lines.feed(b"x" * 100_000))
    with pytest.raises(RemoteError):
        list(lines.feed(b"x" * 100_000))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"choices": 4}', b'{"choices": [{"delta": {"content": 4}}]}'])
def test_what_is_no_chunk_is_an_error_that_may_pass(data):
    with pytest.raises(RemoteError):
        events.chunk(data)


def test_an_error_in_mid_stream_is_one():
    with pytest.raises(RemoteError, match="out of memory"):
        events.chunk(b'{"error": {"message": "out of memory", "code": 500}}')
    with pytest.raises(RemoteRefusedError):
        events.chunk(b'{"error": {"message": "bad", "code": 400}}')


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error": {"message": "Incorrect key sk-1234"}}', RemoteDeniedError),
        (403, b"", RemoteDeniedError),
        (429, b"", RemoteBusyError),
        (500, b"<html>", RemoteError),
        (503, b'{"error": "loading"}', RemoteError),
        (400, b'{"error": {"message": "x", "code": "context_length_exceeded"}}', PromptTooLongError),
        (400, b'{"error": {"message": "too long", "type": "exceed_context_size_error"}}', PromptTooLongError),
        (400, b'{"message": "This model\'s maximum context length is 8"}', PromptTooLongError),
        (404, b'{"detail": "Not Found"}', RemoteRefusedError),
        (422, b"\xff", RemoteRefusedError),
    ],
)
def test_a_refusal_is_typed_and_tells_no_key(status, body, error):
    refusal = events.refusal(status, body)
    assert type(refusal) is error
    assert refusal.retryable == (status in {401, 403, 429} or status >= 500)
    assert "sk-" not in refusal.message


def test_pieces_are_tokens_and_blanks_that_were_said_are_not_said_again():
    run = run_of(chat(), "One, ", pieces=2)
    run.ask_again(" ")
    outputs = [run.take(_chunk(said(text))) for text in (" ", " two", "", ",")]
    assert [(out.index, out.tokens, out.text) if out else None for out in outputs] == [
        None,
        (2, (0,), " two"),
        None,
        (3, (0,), ","),
    ]
    assert run.said == "One,  two,"


def test_where_the_server_says_other_blanks_they_are_said():
    run = run_of(chat(), "One\n ", pieces=2)
    run.ask_again("\n ")
    out = run.take(_chunk(said("\ntwo")))
    assert out
    assert out.text == "two"


def test_an_end_has_a_reason_and_the_servers_count():
    run = run_of(chat(), "abc", pieces=3)
    run.ask_again("")
    run.take(_chunk(said("d")))
    run.take(_chunk(event(delta={}, finish_reason="stop")))
    run.take(_chunk(counted(13, 2)))
    end = run.close()
    assert (end.finish, end.index) == (FinishReason.STOP, 4)
    # Of the prompt three were the answer's.
    assert end.usage == Usage(prompt_tokens=10, completion_tokens=5)


def test_a_server_that_keeps_to_no_limit_is_cut_off():
    run = run_of(chat(max_tokens=2))
    texts = [out.text for out in (run.take(_chunk(said(text))) for text in "abc") if out]
    assert (texts, run.whole, run.close().finish) == (["a", "b"], True, FinishReason.LENGTH)


def test_an_answer_that_is_held_back_fails():
    with pytest.raises(FilteredError):
        run_of(chat()).take(_chunk(event(delta={"content": "x"}, finish_reason="content_filter")))


def test_log_probabilities_come_with_their_tokens():
    top = {"token": "a", "logprob": -0.1, "bytes": [97], "id": 5}
    entries = [{**top, "top_logprobs": [top]}, {"token": "b", "logprob": -0.2}]
    run = run_of(chat(logprobs=True, top_logprobs=1))
    out = run.take(_chunk(event(delta={"content": "ab"}, logprobs={"content": entries})))
    assert out
    assert (out.tokens, [entry["token"] for entry in out.logprobs]) == ((0, 0), ["a", "b"])
    assert "id" not in out.logprobs[0]["top_logprobs"][0]
    with pytest.raises(RemoteError):
        run.take(_chunk(event(delta={"content": "ab"}, logprobs={"content": 4})))


def test_calls_come_with_the_end_as_models_write_them():
    tool = {"type": "function", "function": {"name": "look"}}
    run = run_of(ChatRequest.model_validate({"messages": [USER], "tools": [tool]}))
    parts = [{"index": 0, "id": "x", "function": {"name": "look", "arguments": ""}}]
    more = [[{"index": 0, "function": {"arguments": piece}}] for piece in ('{"at"', ': "<é>"}')]
    for calls in (parts, *more):
        run.take(_chunk(event(delta={"tool_calls": calls})))
    run.take(_chunk(event(delta={}, finish_reason="tool_calls")))
    end = run.close()
    text, (call,) = parted(end.tail, {"look"}, "task")
    assert (text, call.function.name, json.loads(call.function.arguments)) == ("", "look", {"at": "<é>"})
    assert end.finish is FinishReason.STOP


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:40 GMT", 0),
        ("9" * 50, 86_400),
    ],
)
def test_when_to_come_again(header, seconds):
    assert retry_after(header, 60_000) == seconds
