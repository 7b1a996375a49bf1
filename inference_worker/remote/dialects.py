"""What servers behind the OpenAI API have beyond it, and how they go on with an answer that was begun.

An option that a server does not have is refused and never left out: most servers ignore what they don't know. Those
that it has are always sent, for what they are by default differs from server to server.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from inference_worker.errors import UnsupportedOptionError
from inference_worker.options import Regex, Sampling, Text
from inference_worker.requests import ChatRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inference_worker.requests import Request


class Resume(StrEnum):
    """How a server is asked to go on with the last message of a conversation, which is the assistant's."""

    NO = "no"
    LAST_MESSAGE = "last_message"
    """It does so by itself, as llama.cpp."""
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    """The option of that name, as vLLM and SGLang have it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A kind of server.

    Attributes:
        name: how settings call it.
        resume: how it goes on with a conversation.
        limit: what it calls the most tokens of a chat's answer.
        extras: how it takes options that are not of the OpenAI API.
        regex: whether it takes an expression to which an answer keeps.
        seeds: how many seeds there are.
    """

    name: str
    resume: Resume = Resume.NO
    limit: str = "max_tokens"
    extras: Mapping[str, Callable[[Any], dict[str, Any]]] = field(default_factory=dict)
    regex: bool = False
    seeds: int = 2**63

    def check(self, request: Request) -> None:
        """Check that a request asks for nothing that such a server does not do.

        Raises:
            UnsupportedOptionError: it does; names the field.
        """
        for name in _EXTRAS:
            if getattr(request, name) != getattr(_DEFAULTS, name) and name not in self.extras:
                raise _unsupported(self, f"has no {name}", name)
        wanted = request.response_format
        if isinstance(wanted, Regex) and not self.regex:
            raise _unsupported(self, "keeps to no expression; ask for a json_schema", "response_format")
        if isinstance(request, ChatRequest):
            if request.continue_final_message and self.resume is Resume.NO:
                raise _unsupported(self, "does not go on with a message", "continue_final_message")
        elif request.logprobs:
            raise _unsupported(self, "tells log probabilities in llm.chat only", "logprobs")
        elif wanted is not None and not isinstance(wanted, Text):
            # llama.cpp takes it and does not keep to it.
            raise _unsupported(self, "keeps to a format in llm.chat only", "response_format")


def _unsupported(dialect: Dialect, what: str, name: str) -> UnsupportedOptionError:
    return UnsupportedOptionError(f"the model's server ({dialect.name}) {what}", field=f"payload.{name}")


_EXTRAS: Final = ("top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos", "bad_words")
_DEFAULTS: Final = Sampling()


def _same(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: value}


_OPENAI = Dialect("openai", limit="max_completion_tokens")
_VLLM = Dialect(
    "vllm",
    Resume.CONTINUE_FINAL_MESSAGE,
    extras={
        **{name: _same(name) for name in ("min_p", "repetition_penalty", "min_tokens", "ignore_eos")},
        "top_k": lambda value: {"top_k": value or -1},
        "bad_words": lambda value: {"bad_words": value} if value else {},
    },
    regex=True,
)
_LLAMACPP = Dialect(
    "llamacpp",
    Resume.LAST_MESSAGE,
    extras={
        **{name: _same(name) for name in ("min_p", "ignore_eos")},
        "top_k": lambda value: {"top_k": value or 0},
        # By default its penalties look at the last 64 tokens only.
        "repetition_penalty": lambda value: {"repeat_penalty": value, "repeat_last_n": 131_072},
    },
    # The last of 32 bits means a seed by chance.
    seeds=2**32 - 1,
)
_OTHER = Dialect("other")
_BY_NAME: Final = {dialect.name: dialect for dialect in (_OPENAI, _VLLM, _LLAMACPP, _OTHER)}
_BY_OWNER: Final = {"system": _OPENAI, "openai-internal": _OPENAI}


def dialect_of(name: str, resume: str, owned_by: str) -> Dialect:
    """Return the dialect of a server.

    Args:
        name: of the dialect, or `auto`.
        resume: how it goes on, or `auto`: as its dialect has it.
        owned_by: what its list of models says of the model.
    """
    known = _BY_NAME | _BY_OWNER
    dialect = known.get(owned_by, _OTHER) if name == "auto" else _BY_NAME[name]
    return dialect if resume == "auto" else replace(dialect, resume=Resume(resume))
