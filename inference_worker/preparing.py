"""From a request to what the engine needs of it: the prompt's tokens, and what guides the choice of the answer's.

All of it is work of the CPU, so it runs in threads. What a hostile request can make long, a schema or a list of bad
words, is done one after the other: it may hold up its like, and nobody else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from inference_worker.bad_words import BadWords
from inference_worker.choosing import UNGUIDED, Guides
from inference_worker.classify import ClassifyTexts
from inference_worker.constraints import Constraints
from inference_worker.embed import EmbedRequest, EmbedTexts
from inference_worker.errors import ModelNotFoundError, PromptTooLongError
from inference_worker.prompt import turns, written
from inference_worker.requests import ChatRequest

if TYPE_CHECKING:
    from inference_worker.loading import Model
    from inference_worker.requests import ReadRequest, Request


class Prepared(NamedTuple):
    """What the engine needs of a request."""

    prompt: list[int]
    guides: Guides


@dataclass(slots=True)
class Preparing:
    """Prepares requests for one model, many at once."""

    model: Model
    _constraints: Constraints = field(init=False)
    _one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """Begin with no constraint compiled."""
        self._constraints = Constraints(self.model.tokenizer.vocabulary)

    async def prepare(self, request: Request, at: int) -> Prepared:
        """Prepare a request.

        Args:
            request: what is wanted.
            at: when it was made, ms since the epoch.

        Raises:
            ModelNotFoundError: it wants another model.
            RequestError: this model can't answer it; names the field.
        """
        prompt = await asyncio.to_thread(self._prompt, request, at)
        if request.response_format is None and not request.bad_words and not request.logprobs:
            return Prepared(prompt, UNGUIDED)
        async with self._one_by_one:
            return Prepared(prompt, await asyncio.to_thread(self._guides, request))

    async def to_read(self, request: ReadRequest) -> EmbedTexts | ClassifyTexts:
        """Prepare a request whose texts are read.

        Raises:
            ModelNotFoundError: it wants another model.
            RequestError: this model can't read it; names the field.
        """
        self._check_model(request)
        if isinstance(request, EmbedRequest):
            return await asyncio.to_thread(EmbedTexts, request, self.model)
        return await asyncio.to_thread(ClassifyTexts, request, self.model)

    def _check_model(self, request: Request | ReadRequest) -> None:
        if request.model not in {None, self.model.id}:
            raise ModelNotFoundError(f"this worker runs {self.model.id}, not {request.model!r}", field="payload.model")

    def _prompt(self, request: Request, at: int) -> list[int]:
        self._check_model(request)
        chat = isinstance(request, ChatRequest)
        tokenizer = self.model.tokenizer
        prompt = (
            tokenizer.chat(
                turns(request.messages), tools=request.tools, continues=request.continue_final_message, at=at
            )
            if isinstance(request, ChatRequest)
            else tokenizer.encode(written(request.prompt, tokenizer.plain))
        )
        most = self.model.runner.max_context - 1
        if len(prompt) > most:
            raise PromptTooLongError(
                f"the prompt has {len(prompt)} tokens, at most {most} fit with an answer",
                field="payload.messages" if chat else "payload.prompt",
            )
        return prompt

    def _guides(self, request: Request) -> Guides:
        vocabulary = self.model.tokenizer.vocabulary
        if request.logprobs:
            vocabulary.bytes_of(0)  # the index is made here, and not in the engine's step
        return Guides(
            vocabulary=vocabulary if request.logprobs else None,
            constraint=self._constraints.compile(request.response_format),
            bad_words=BadWords(request.bad_words, vocabulary) if request.bad_words else None,
        )
