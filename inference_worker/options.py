"""What a request may ask of its answer: how each token is chosen, what it must keep to, and when it stops.

Names, bounds and meanings are those of the OpenAI API where it has the option, else those of vLLM's `SamplingParams`;
`docs/engine.md` tells the order in which they act.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

if TYPE_CHECKING:
    from typing import Self

MAX_SCHEMA_BYTES: Final = 65_536


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NamedSchema(_Strict):
    """A JSON Schema under a name, as the OpenAI API has it."""

    name: str = Field("answer", max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: str | None = Field(None, max_length=10_000)
    # Called otherwise in Python, where pydantic's own models have a `schema`.
    document: dict[str, Any] = Field(alias="schema", description="The JSON Schema.")
    strict: bool | None = Field(None, description="Taken for compatibility: an answer always keeps to its schema.")

    @field_validator("document")
    @classmethod
    def _is_bounded(cls, document: dict[str, Any]) -> dict[str, Any]:
        if len(msgspec.json.encode(document)) > MAX_SCHEMA_BYTES:
            raise ValueError(f"a schema has at most {MAX_SCHEMA_BYTES} bytes")
        return document


class Text(_Strict):
    """The answer is any text."""

    type: Literal["text"]


class JsonObject(_Strict):
    """The answer is a JSON object."""

    type: Literal["json_object"]


class JsonSchema(_Strict):
    """The answer is JSON that is valid by the schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class Regex(_Strict):
    """The whole answer matches the expression (the syntax of Rust's `regex`, without look-around)."""

    type: Literal["regex"]
    regex: str = Field(min_length=1, max_length=10_000)


def _type(value: object) -> str:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"~{found}"


# Tags that begin with `~` are left out of the path of an error: see `requests.parse`.
ResponseFormat = Annotated[
    Annotated[Text, Tag("~text")]
    | Annotated[JsonObject, Tag("~json_object")]
    | Annotated[JsonSchema, Tag("~json_schema")]
    | Annotated[Regex, Tag("~regex")],
    Discriminator(_type),
]


class Sampling(_Strict):
    """How the next token is chosen, and when to stop; shared by all generating kinds."""

    max_tokens: int = Field(256, ge=1, le=32_768, description="The most tokens of the answer.")
    min_tokens: int = Field(0, ge=0, le=32_768, description="The model may not end its answer before this many tokens.")
    ignore_eos: bool = Field(False, description="The model may not end its answer at all: it has `max_tokens`.")
    temperature: float = Field(
        0.7, ge=0, le=2, allow_inf_nan=False, description="0 always takes the likeliest token; higher is more varied."
    )
    top_p: float = Field(0.9, gt=0, le=1, description="Only the likeliest tokens that make up this probability.")
    top_k: int | None = Field(None, ge=1, le=1_000, description="Only this many of the likeliest tokens.")
    min_p: float = Field(0, ge=0, le=1, description="Only tokens with this share of the likeliest one's probability.")
    repetition_penalty: float = Field(
        1, gt=0, le=10, allow_inf_nan=False, description="Over 1, what stands in prompt or answer becomes less likely."
    )
    presence_penalty: float = Field(
        0, ge=-2, le=2, allow_inf_nan=False, description="Taken once from the score of each token of the answer so far."
    )
    frequency_penalty: float = Field(
        0, ge=-2, le=2, allow_inf_nan=False, description="Taken as often as the token is in the answer so far."
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the choice; by default made of the task's id.")
    stop: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=4, description="Texts that end the answer; they are not part of it."
    )
    bad_words: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default_factory=list,
        max_length=64,
        description="Texts that are nowhere in the answer, however it is tokenized.",
    )
    logprobs: bool = Field(False, description="Give the log probability of each token of the answer.")
    top_logprobs: int | None = Field(None, ge=0, le=20, description="Give so many of the likeliest tokens beside each.")
    response_format: ResponseFormat | None = Field(
        None, description="What the answer keeps to: JSON, or an expression."
    )
    model: str | None = Field(None, max_length=200, description="Id of the model; by default the one that is loaded.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is for requests with logprobs")
        if self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens is at most max_tokens")
        return self

    @property
    def least(self) -> int:
        """How many tokens an answer has before the model may end it."""
        return self.max_tokens if self.ignore_eos else self.min_tokens
