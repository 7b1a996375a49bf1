"""What is said for one request under one claim: from it come the records of the log, and the sequence that goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inference_worker import sampling
from inference_worker.choosing import UNGUIDED, Guides
from inference_worker.requests import Answer, ChatRequest, Tokens
from inference_worker.sequence import Sequence
from inference_worker.text import TextStream
from inference_worker.tool_calls import parted
from schemas.records import FinishReason, TokenDelta, Usage

if TYPE_CHECKING:
    from inference_worker.conversation import ToolCall
    from inference_worker.loading import Model
    from inference_worker.preparing import Prepared
    from inference_worker.requests import Request
    from inference_worker.serving import Serving
    from inference_worker.token_log import Accepted
    from schemas.records import DeltaType, Task

WHOLE: Final = frozenset({FinishReason.STOP, FinishReason.LENGTH})
"""Why an answer ended to which nothing is to be added."""


@dataclass(slots=True)
class Speech:
    """An answer as far as it has come.

    Attributes:
        task: the request's.
        partition: of the token log, that of the task's key.
        request: what is wanted.
        prompt: its tokens.
        claim: the offset of the claim under which it is said.
        tokens: what was said, also under earlier claims.
        text: the same as text, in pieces.
        guides: what was prepared for the choice of what is left.
        logprobs: one entry for each of the tokens, if they are asked for.
        counted: how many tokens went in and came out, where that is known from elsewhere.
    """

    task: Task
    partition: int
    request: Request
    prompt: list[int]
    claim: int
    tokens: list[int]
    text: list[str]
    guides: Guides = UNGUIDED
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    counted: Usage | None = None

    @classmethod
    def going_on(cls, task: Task, partition: int, request: Request, prepared: Prepared, accepted: Accepted) -> Speech:
        """Go on from what was accepted before, under the latest claim."""
        entries = [entry for said in accepted.logprobs for entry in msgspec.json.decode(said)]
        prompt, guides = prepared
        said = list(accepted.tokens), [accepted.text]
        whole = accepted.usage if accepted.previous_finish in WHOLE else None
        speech = cls(task, partition, request, prompt, accepted.claim, *said, guides=guides, logprobs=entries)
        speech.counted = whole
        return speech

    @property
    def usage(self) -> Usage:
        """How many tokens went in and came out."""
        return self.counted or Usage(prompt_tokens=len(self.prompt), completion_tokens=len(self.tokens))

    def delta(self, kind: DeltaType, **fields: object) -> TokenDelta:
        """Return what comes next in the log."""
        index = len(self.tokens)
        return TokenDelta(task_id=self.task.id, type=kind, claim=self.claim, index=index, **fields)  # type: ignore[arg-type]  # fields of TokenDelta

    def sequence(self, model: Model, trial: int) -> Sequence:
        """Return what the model runs to go on from here, for the `trial`th time after the first."""
        task, request = self.task, self.request
        begun = task.attempt > 1 or bool(self.tokens) or trial > 0
        sequence = Sequence(
            # Of this claim and trial: a late output of another one is none of this one's.
            id=f"{task.id}@{self.claim}.{trial}",
            prompt=self.prompt,
            how=request,
            seed=seed_of(task, request),
            limit=min(request.max_tokens, model.runner.max_context - len(self.prompt)),
            rank=task.tier.rank if task.tier else 0,
            deadline=task.deadline,
            start_by=None if begun else task.start_by,
            text=TextStream(model.tokenizer.detokenizer, request.stop),
            owner=task.owner,
            guides=self.guides,
        )
        sequence.replay(self.tokens)
        return sequence

    def answer(self, serving: Serving[Any], finish: FinishReason, tail: str) -> Answer:
        """Return the result: an answer that is whole, its tool calls apart from its text.

        Args:
            serving: what answered.
            finish: why it ended.
            tail: the last of its text.
        """
        text = "".join([*self.text, tail])
        calls: list[ToolCall] = []
        request = self.request
        if isinstance(request, ChatRequest) and request.tools and serving.calls_in_tags:
            text, calls = parted(text, {tool.function.name for tool in request.tools}, self.task.id)
        return Answer(
            text=text,
            finish_reason="tool_calls" if calls and finish is FinishReason.STOP else finish.value,
            tool_calls=calls or None,
            logprobs=self.logprobs if request.logprobs else None,
            usage=Tokens(prompt_tokens=self.usage.prompt_tokens, completion_tokens=self.usage.completion_tokens),
            model=serving.id,
            digest=serving.digest,
        )


def seed_of(task: Task, request: Request) -> int:
    """Return the seed of a request's draws: its own, else one that every worker makes of its task."""
    return sampling.seed_of(task.id) if request.seed is None else request.seed
