"""What the kinds take and give: here `llm.chat` and `llm.complete`; `embed` and `classify` have their own.

Bounds are strict and unknown fields refused, so that a misspelt option is an error and not a silent default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, Field, Tag, ValidationError, model_validator

from inference_worker.classify import Classified, ClassifyRequest
from inference_worker.conversation import FORM, Message, Parts, Tool, ToolCall
from inference_worker.embed import Embedded, EmbedRequest
from inference_worker.errors import RequestError
from inference_worker.options import Sampling

if TYPE_CHECKING:
    from typing import Self


class ChatRequest(Sampling):
    """Payload of `llm.chat`: the model answers the conversation."""

    messages: list[Message] = Field(min_length=1, max_length=1_000)
    tools: list[Tool] = Field(
        default_factory=list, max_length=128, description="What the model may ask to have called."
    )
    continue_final_message: bool = Field(False, description="Go on with the last message, which is the assistant's.")

    @model_validator(mode="after")
    def _has_something_to_continue(self) -> Self:
        last = self.messages[-1]
        if self.continue_final_message and (last.role != "assistant" or last.tool_calls):
            raise ValueError("continue_final_message goes on with an assistant's message that calls no tool")
        return self


class CompleteRequest(Sampling):
    """Payload of `llm.complete`: the model goes on with the text, without a chat template."""

    prompt: Annotated[Annotated[str, Field(min_length=1, max_length=1_000_000), Tag("~text")] | Parts, FORM]


class Tokens(BaseModel):
    """How many tokens went in and came out."""

    prompt_tokens: int
    completion_tokens: int


class Answer(BaseModel):
    """Result of `llm.chat` and `llm.complete`."""

    text: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    tool_calls: list[ToolCall] | None = Field(
        None, description="What the model asked to have called; no part of the text."
    )
    logprobs: list[dict[str, Any]] | None = Field(
        None, description="Of each token, as the OpenAI API has it: token, logprob, bytes, top_logprobs."
    )
    usage: Tokens
    model: str
    digest: str = Field(description="Digest of the model's files: the same digest is the same model.")


Request = ChatRequest | CompleteRequest
"""To it something is said, token by token."""
ReadRequest = EmbedRequest | ClassifyRequest
"""Its texts are read, and it has one result."""


class Form(NamedTuple):
    """What a kind takes and gives."""

    payload: type[Request | ReadRequest]
    result: type[BaseModel]


KINDS: Final[dict[str, Form]] = {
    "llm.chat": Form(ChatRequest, Answer),
    "llm.complete": Form(CompleteRequest, Answer),
    "llm.embed": Form(EmbedRequest, Embedded),
    "llm.classify": Form(ClassifyRequest, Classified),
}


def parse(kind: str, payload: bytes) -> Request | ReadRequest:
    """Read a payload.

    Raises:
        RequestError: the kind is not served here, or the payload does not fit it; names the field.
    """
    form = KINDS.get(kind)
    if form is None:
        raise RequestError(f"this worker serves {', '.join(KINDS)}, not {kind!r}", field="kind")
    try:
        return form.payload.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"] if not str(part).startswith("~")]
        raise RequestError(first["msg"], field=".".join(["payload", *path])) from None
