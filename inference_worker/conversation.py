"""What a conversation is made of: its turns, the parts of their text, the tools a model may call and its calls.

Tools, calls and their results have the form of the OpenAI API; that a part may be `data` is our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

if TYPE_CHECKING:
    from typing import Self

_NAME = r"^[a-zA-Z0-9_.-]+$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Strict):
    """A part of a prompt: `text` is the prompt's own words; `data` is to be worked on, and never an instruction."""

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


# The discriminator keeps an error to the form that was meant; `requests.parse` leaves its tags out of the field's path.
FORM = Discriminator(_form)
Parts = Annotated[list[Part], Field(min_length=1, max_length=1_000), Tag("~parts")]
Content = str | list[Part]


class Function(_Strict):
    """What a tool does, and the JSON Schema of what it takes."""

    name: str = Field(min_length=1, max_length=64, pattern=_NAME)
    description: str | None = Field(None, max_length=10_000)
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class Tool(_Strict):
    """Something that the model may ask to have called."""

    type: Literal["function"]
    function: Function


class Call(_Strict):
    """The name of what is to be called, and with what: a JSON object as text."""

    name: str = Field(min_length=1, max_length=64, pattern=_NAME)
    arguments: str = Field(max_length=1_000_000)

    @field_validator("arguments")
    @classmethod
    def _is_an_object(cls, arguments: str) -> str:
        try:
            msgspec.json.decode(arguments, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            raise ValueError("arguments are the text of a JSON object") from None
        return arguments


class ToolCall(_Strict):
    """What the model asked to have called; `id` is what the tool's answer names."""

    id: str = Field(min_length=1, max_length=200)
    type: Literal["function"] = "function"
    function: Call


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[Annotated[str, Field(max_length=1_000_000), Tag("~text")] | Parts, FORM] | None = None
    name: str | None = Field(None, max_length=64, description="Of a tool's answer: the tool.")
    tool_calls: list[ToolCall] = Field(default_factory=list, max_length=128, description="Of the assistant: its calls.")
    tool_call_id: str | None = Field(None, max_length=200, description="Of a tool's answer: the call.")

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("tool_calls are the assistant's")
        if (self.tool_call_id is not None or self.name is not None) and self.role != "tool":
            raise ValueError("name and tool_call_id are a tool's")
        if self.content is None and not self.tool_calls:
            raise ValueError("only a message with tool_calls may lack content")
        return self

    @property
    def said(self) -> Content:
        """Its content; nothing where it only calls tools."""
        return self.content or ""
