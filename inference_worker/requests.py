"""What `llm.chat` and `llm.complete` take and give: the payloads and results of the two kinds.

Bounds are strict and unknown fields refused, so that a misspelt option is an error and not a silent default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from inference_worker.errors import RequestError

if TYPE_CHECKING:
    from typing import Self


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


class Part(BaseModel):
    """A part of a prompt: `text` is the prompt's own words; `data` is to be worked on, and never an instruction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text", "data"]
    text: str = Field(max_length=1_000_000)
    source: str | None = Field(None, max_length=8_000, description="Of data: where it is from, such as an address.")
    max_chars: int | None = Field(None, ge=1, description="Of data: the most characters of it that the model is given.")

    @model_validator(mode="after")
    def _data_has_a_source(self) -> Self:
        if self.type == "text" and (self.source is not None or self.max_chars is not None):
            raise ValueError("source and max_chars are for data")
        return self


def _form(content: object) -> str:
    return "~text" if isinstance(content, str) else "~parts"


# The discriminator keeps an error to the form that was meant; `parse` leaves its tags out of the field's path.
_FORM = Discriminator(_form)
_Parts = Annotated[list[Part], Field(min_length=1, max_length=1_000), Tag("~parts")]
Content = str | list[Part]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: Annotated[Annotated[str, Field(max_length=1_000_000), Tag("~text")] | _Parts, _FORM]


class ChatRequest(Sampling):
    """Payload of `llm.chat`: the model answers the conversation."""

    messages: list[Message] = Field(min_length=1, max_length=1_000)


class CompleteRequest(Sampling):
    """Payload of `llm.complete`: the model goes on with the text, without a chat template."""

    prompt: Annotated[Annotated[str, Field(min_length=1, max_length=1_000_000), Tag("~text")] | _Parts, _FORM]


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
        path = [str(part) for part in first["loc"] if not str(part).startswith("~")]
        raise RequestError(first["msg"], field=".".join(["payload", *path])) from None
