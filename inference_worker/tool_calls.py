"""Pure: the tool calls in a model's answer, where its chat template says how they look.

Known is the form of Hermes and Qwen: one JSON object `{"name": …, "arguments": {…}}` (SmolLM2: a list of them) between
`<tool_call>` and `</tool_call>`. What isn't well formed, or names no tool of the request, stays text.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2s
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from inference_worker.conversation import Call, ToolCall

if TYPE_CHECKING:
    from collections.abc import Container

_CALL = re.compile(r"\s*<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


class _Called(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    arguments: dict[str, Any] = {}


def parted(text: str, tools: Container[str], task_id: str) -> tuple[str, list[ToolCall]]:
    """Return the text without the calls, and the calls.

    Args:
        text: an answer that is whole; its last call may lack the closing tag, for that may have been the stop.
        tools: the names of those that may be called.
        task_id: of the request; the calls' ids are made of it, so that every worker gives the same.
    """
    calls: list[ToolCall] = []

    def take(found: re.Match[str]) -> str:
        called = _called(found[1])
        if not called or any(one.name not in tools for one in called):
            return found[0]
        for one in called:
            made_of = f"{task_id}\0{len(calls)}".encode()
            call = Call(name=one.name, arguments=json.dumps(one.arguments, ensure_ascii=False))
            calls.append(ToolCall(id=f"call_{blake2s(made_of, digest_size=12).hexdigest()}", function=call))
        return ""

    return _CALL.sub(take, text), calls


def _called(said: str) -> list[_Called]:
    try:
        found = msgspec.json.decode(said, type=_Called | list[_Called])
    except (msgspec.DecodeError, RecursionError):
        return []
    return found if isinstance(found, list) else [found]
