"""`llm.embed`: texts to vectors, by the hidden states that the model has of their tokens after its last norm.

Names and meanings are the OpenAI API's, where it has the option. Tokens are those that the model's own tokenizer makes,
with the special tokens that it adds.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from inference_worker.embedding import Embedding, Pooling
from inference_worker.errors import PromptTooLongError, RequestError, UnsupportedOptionError
from inference_worker.reading import Texts

if TYPE_CHECKING:
    from inference_worker.loading import Model
    from inference_worker.reading import Common
    from inference_worker.runners.base import Rows

_Text = Annotated[str, Field(min_length=1, max_length=1_000_000)]
MOST_TEXTS = 2_048


def _form(given: object) -> str:
    return "~text" if isinstance(given, str) else "~texts"


class EmbedRequest(BaseModel):
    """Payload of `llm.embed`: the model makes a vector of each text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Annotated[
        Annotated[_Text, Tag("~text")]
        | Annotated[list[_Text], Field(min_length=1, max_length=MOST_TEXTS), Tag("~texts")],
        Discriminator(_form),
    ]
    pooling: Pooling = Field(
        "mean", description="Which hidden states count: the mean of all tokens', the last one's or the first one's."
    )
    normalize: bool = Field(True, description="Give each vector the length 1.")
    dimensions: int | None = Field(None, ge=1, description="Only so many of a vector's first numbers.")
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="Numbers as a list, or float32, little-endian, in base64."
    )
    model: str | None = Field(None, max_length=200, description="Id of the model; by default the one that is loaded.")


class Read(BaseModel):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int


class Vector(BaseModel):
    """The vector of one text."""

    index: int
    embedding: list[float] | str


class Embedded(BaseModel):
    """Result of `llm.embed`: a vector for each text, in their order."""

    data: list[Vector]
    dimensions: int
    usage: Read
    model: str
    digest: str = Field(description="Digest of the model's files: the same digest is the same model.")


class EmbedTexts(Texts[Embedding]):
    """The texts of one request."""

    def __init__(self, request: EmbedRequest, model: Model) -> None:
        """Make tokens of the texts.

        Raises:
            UnsupportedOptionError: the model has no hidden states.
            RequestError: a text has none or too many tokens, or vectors have fewer numbers; names the field.
        """
        if not model.runner.hidden:
            raise UnsupportedOptionError("this model gives scores alone, no hidden states", field="kind")
        if request.dimensions and request.dimensions > model.runner.hidden:
            raise RequestError(f"the model's vectors have {model.runner.hidden} numbers", field="payload.dimensions")
        texts = [request.input] if isinstance(request.input, str) else request.input
        self.count = len(texts)
        self._request = request
        self._model = model
        self._tokens = [model.tokenizer.encode(text, special=True) for text in texts]
        for place, tokens in enumerate(self._tokens):
            field = "payload.input" if isinstance(request.input, str) else f"payload.input.{place}"
            if not tokens:
                raise RequestError("the model's tokenizer leaves nothing of this text", field=field)
            if len(tokens) > model.runner.max_context:
                raise PromptTooLongError(
                    f"the text has {len(tokens)} tokens, the model reads {model.runner.max_context}", field=field
                )

    def part(self, place: int, common: Common) -> Embedding:
        """Return a text as the engine reads it."""
        return Embedding(prompt=self._tokens[place], pooling=self._request.pooling, **common)

    def result(self, parts: list[Embedding]) -> Embedded:
        """Return the vectors."""
        how, tokens = self._request, sum(len(part.prompt) for part in parts)
        vectors = [part.vector(dimensions=how.dimensions, normalize=how.normalize) for part in parts]
        write = _base64 if how.encoding_format == "base64" else _numbers
        return Embedded(
            data=[Vector(index=place, embedding=write(vector)) for place, vector in enumerate(vectors)],
            dimensions=len(vectors[0]),
            usage=Read(prompt_tokens=tokens, total_tokens=tokens),
            model=self._model.id,
            digest=self._model.digest,
        )


def _base64(vector: Rows) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _numbers(vector: Rows) -> list[float]:
    """Return the shortest numbers that are these float32, a third of the digits that float64 would have."""
    numbers: list[float] = vector.astype(np.str_).astype(np.float64).tolist()
    return numbers
