"""What `llm.chat` and `llm.complete` take and give: the payloads and results of the two kinds.

Bounds are strict and unknown fields refused, so that a misspelt option is an error and not a silent default.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_worker.errors import RequestError


class Sampling(BaseModel):
    """How the next token is chosen, and when to stop; shared by all generating kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(256, ge=1, le=32_768, description="The most tokens of the answer.")
    temperature: float = Field(
        0.7, ge=0, le=2, allow_inf_nan=False, description="0 always takes the likeliest token; higher is more varied."
    )
    top_p: float = Field(0.9, gt=0, le=1, description="Only the likeliest tokens that make up this probability.")
    top_k: int | None = Field(None, ge=1, le=1_000, description="Only this many of the likeliest tokens.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the choice; by default made of the task's id.")
    stop: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=4, description="Texts that end the answer; they are not part of it."
    )
    model: str | None = Field(None, max_length=200, description="Id of the model; by default the one that is loaded.")


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=1_000_000)


class ChatRequest(Sampling):
    """Payload of `llm.chat`: the model answers the conversation."""

    messages: list[Message] = Field(min_length=1, max_length=1_000)


class CompleteRequest(Sampling):
    """Payload of `llm.complete`: the model goes on with the text, without a chat template."""

    prompt: str = Field(min_length=1, max_length=1_000_000)


class Tokens(BaseModel):
    """How many tokens went in and came out."""

    prompt_tokens: int
    completion_tokens: int


class Answer(BaseModel):
    """Result of both kinds."""

    text: str
    finish_reason: Literal["stop", "length"]
    usage: Tokens
    model: str
    digest: str = Field(description="Digest of the model's files: the same digest is the same model.")


Request = ChatRequest | CompleteRequest

KINDS: Final[dict[str, type[ChatRequest | CompleteRequest]]] = {
    "llm.chat": ChatRequest,
    "llm.complete": CompleteRequest,
}


def parse(kind: str, payload: bytes) -> Request:
    """Read a payload.

    Raises:
        RequestError: the kind is not served here, or the payload does not fit it; names the field.
    """
    model = KINDS.get(kind)
    if model is None:
        raise RequestError(f"this worker serves {', '.join(KINDS)}, not {kind!r}", field="kind")
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RequestError(first["msg"], field=".".join(("payload", *map(str, first["loc"])))) from None
