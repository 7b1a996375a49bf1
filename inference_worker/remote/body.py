"""Pure: what a model's server is asked, from a request and what was said of its answer so far."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from inference_worker.errors import ResumeUnsupportedError
from inference_worker.options import JsonObject, JsonSchema, Regex
from inference_worker.prompt import turns, written
from inference_worker.remote.dialects import Resume
from inference_worker.requests import ChatRequest

if TYPE_CHECKING:
    from inference_worker.options import ResponseFormat
    from inference_worker.prompt import Turn
    from inference_worker.remote.dialects import Dialect
    from inference_worker.remote.run import RemoteRun
    from inference_worker.requests import CompleteRequest, Request

_WORD_JOINER = "\u2060"
# A server reads control tokens in the text of any message, and which its model has is not known here. U+FF5C is DeepSeek's.
_CONTROL = re.compile(r"<(?=[|\uff5c][^<>|\uff5c]{1,40}[|\uff5c]>|/?s>|(?:start|end)_of_turn>)|\[(?=/?INST\])")


class Asked(NamedTuple):
    """What is asked: where below the base URL, with which body, and what of the answer the server will say again."""

    path: str
    body: dict[str, Any]
    again: str


def asked(run: RemoteRun, dialect: Dialect, model: str) -> Asked:
    """Return what to ask, so that the server says what comes after what was said.

    Args:
        run: what is wanted, which the dialect has checked, and what was said.
        dialect: the kind of server.
        model: what the server calls it.

    Raises:
        ResumeUnsupportedError: something was said, and the server can't go on with it.
    """
    # Templates may trim a message, and a token begins with a blank rather than ends with it: the server says it again.
    request, begun = run.request, run.said.rstrip()
    again = run.said[len(begun) :]
    body = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "top_p": request.top_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "seed": run.seed % dialect.seeds,
        **_extras(request, dialect, run.pieces),
    }
    if request.stop:
        body["stop"] = request.stop
    most = request.max_tokens - run.pieces + (1 if again else 0)
    if isinstance(request, ChatRequest):
        path, special = "chat/completions", _chat(request, dialect, begun) | {dialect.limit: most}
    else:
        path, special = "completions", _complete(request, begun) | {"max_tokens": most}
    return Asked(path, body | special, again)


def plain(text: str) -> str:
    """Keep a text from being read as a control token, such as the end of the turn that it is in."""
    return _CONTROL.sub(lambda found: found[0] + _WORD_JOINER, text)


def _extras(request: Request, dialect: Dialect, pieces: int) -> dict[str, Any]:
    extras: dict[str, Any] = {}
    for name, written_as in dialect.extras.items():
        value = getattr(request, name)
        extras |= written_as(max(0, value - pieces) if name == "min_tokens" else value)
    return extras


def _complete(request: CompleteRequest, begun: str) -> dict[str, Any]:
    return {"prompt": written(request.prompt, plain) + plain(begun)}


def _chat(request: ChatRequest, dialect: Dialect, begun: str) -> dict[str, Any]:
    form = _format(request.response_format)
    if begun and (dialect.resume is Resume.NO or form):
        # Of a format, what follows would have to keep to the rest of it, and the server would begin it anew.
        raise ResumeUnsupportedError
    messages = [_message(turn) for turn in turns(request.messages)]
    if begun and request.continue_final_message:
        messages[-1]["content"] += plain(begun)
    elif begun:
        messages.append({"role": "assistant", "content": plain(begun)})
    body: dict[str, Any] = {"messages": messages, **form}
    if (begun or request.continue_final_message) and dialect.resume is Resume.CONTINUE_FINAL_MESSAGE:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.tools:
        body["tools"] = [tool.model_dump(exclude_none=True) for tool in request.tools]
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    return body


def _message(turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": plain(turn.content)}
    if turn.tool_calls:
        message["tool_calls"] = [call.model_dump() for call in turn.tool_calls]
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    if turn.name is not None:
        message["name"] = turn.name
    return message


def _format(wanted: ResponseFormat | None) -> dict[str, Any]:
    match wanted:
        case JsonObject():
            return {"response_format": {"type": "json_object"}}
        case JsonSchema(json_schema=named):
            schema = {"name": named.name, "schema": named.document, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case Regex(regex=expression):
            return {"structured_outputs": {"regex": expression}}
    return {}
