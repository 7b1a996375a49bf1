"""Pure: in a step for a model, what a look-up finds is data, never words of the prompt.

A result may hold what a stranger wrote: a page, a mail, or a model's words about one. So a look-up in the prompt of an
`llm.*` step becomes a part of its own, which the model's worker marks as data, whichever step it looks into:

    "Sum this up: {{ result.text }}"
    [{"type": "text", "text": "Sum this up: "}, {"type": "data", "source": "result.text", "text": "Open at seven."}]

Nothing else in a conversation can be looked up: neither a role, nor a message, nor a part, nor anything of a tool.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from backbone.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable

    LookUp = Callable[[str, str], str]
    """From a path and the field that it stands in to the text that is found."""

PROMPTS: Final = frozenset({"messages", "prompt", "tools"})
"""The fields of a payload for a model that hold its prompt."""

# One loop and nothing beside it that matches the same: a string of blanks would keep it busy for hours.
LOOKUP: Final = re.compile(r"\{\{([^{}]*)\}\}")


def is_for_a_model(kind: str) -> bool:
    """Whether tasks of a kind go to a model."""
    return kind.startswith("llm.")


def prompt(name: str, value: Any, field: str, look_up: LookUp) -> Any:
    """Return a prompt with what its look-ups find as parts that are data.

    Args:
        name: `messages`, `prompt` or `tools`.
        value: as the step's author wrote it.
        field: what its path is called in an error.
        look_up: finds the text of a path.

    Raises:
        StepError: a look-up stands where it may not, or finds nothing; `field` says where.
    """
    if name == "prompt":
        return _content(value, field, look_up)
    if not isinstance(value, list):
        return _fixed(value, field)
    return [_message(each, f"{field}.{place}", look_up) for place, each in enumerate(value)]


def _message(message: Any, field: str, look_up: LookUp) -> Any:
    if not isinstance(message, dict):
        return _fixed(message, field)
    return {
        key: _content(value, f"{field}.{key}", look_up) if key == "content" else _fixed(value, f"{field}.{key}")
        for key, value in message.items()
    }


def _content(content: Any, field: str, look_up: LookUp) -> Any:
    if isinstance(content, str):
        return _parts(content, field, look_up) if LOOKUP.search(content) else content
    if not isinstance(content, list):
        return _fixed(content, field)
    parts = []
    for place, part in enumerate(content):
        parts += _part(part, f"{field}.{place}", look_up)
    return parts


def _part(part: Any, field: str, look_up: LookUp) -> list[Any]:
    match part:
        case {"type": "text", "text": str(text)} if LOOKUP.search(text):
            return _parts(text, f"{field}.text", look_up)
        case {"type": "data"}:
            return [
                {
                    key: _written(value, f"{field}.{key}", look_up)
                    if key in {"text", "source"} and isinstance(value, str)
                    else _fixed(value, f"{field}.{key}")
                    for key, value in part.items()
                }
            ]
    return [_fixed(part, field)]


def _parts(text: str, field: str, look_up: LookUp) -> list[dict[str, str]]:
    """Return what the author wrote as text, and what is looked up as data."""
    parts = []
    for place, piece in enumerate(LOOKUP.split(text)):  # written, path, written, path, …, written
        if place % 2:
            path = piece.strip()
            parts.append({"type": "data", "source": path, "text": look_up(path, field)})
        elif piece:
            parts.append({"type": "text", "text": piece})
    return parts


def _written(text: str, field: str, look_up: LookUp) -> str:
    return LOOKUP.sub(lambda found: look_up(found[1].strip(), field), text)


def _fixed(node: Any, field: str) -> Any:
    """Return what stands where nothing may be looked up.

    Raises:
        StepError: something is.
    """
    if isinstance(node, str) and LOOKUP.search(node):
        raise StepError("in a prompt, only texts and the text and source of data can be looked up", field=field)
    if isinstance(node, dict):
        return {key: _fixed(value, f"{field}.{key}") for key, value in node.items()}
    if isinstance(node, list):
        return [_fixed(value, f"{field}.{place}") for place, value in enumerate(node)]
    return node
