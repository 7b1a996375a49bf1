"""What is said for one request under one claim: from it come the records of the log, and the sequence that goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference_worker import sampling
from inference_worker.sequence import Sequence
from inference_worker.text import TextStream
from schemas.records import TokenDelta

if TYPE_CHECKING:
    from inference_worker.loading import Model
    from inference_worker.requests import Request
    from schemas.records import DeltaType, Task


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
    """

    task: Task
    partition: int
    request: Request
    prompt: list[int]
    claim: int
    tokens: list[int]
    text: list[str]

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
            text=TextStream(model.tokenizer.tokenizer, request.stop),
        )
        sequence.replay(self.tokens)
        return sequence


def seed_of(task: Task, request: Request) -> int:
    """Return the seed of a request's draws: its own, else one that every worker makes of its task."""
    return sampling.seed_of(task.id) if request.seed is None else request.seed
