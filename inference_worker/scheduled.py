"""What the engine schedules: tokens for the cache, how far it holds them, and until when. Admission knows no more of it.

`Sequence` says an answer, `Embedding` reads a text, `Likelihoods` weighs answers that are given. They share steps, tiers
and deadlines, and differ only in what they want of a step and what they make of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inference_worker.runners.base import Rows
    from schemas.records import FinishReason, Usage


@dataclass(frozen=True, slots=True)
class Output:
    """What a step gave a sequence.

    Attributes:
        id: the sequence's.
        index: of the first token, from 0; at an end without one, how many tokens the answer has.
        tokens: new ids, none or one.
        text: what became certain of the text with them.
        logprobs: one entry a token, if they are asked for.
        usage: tokens in and out, at an end, where whoever ran it counts them.
        started: whether the sequence got its slot in this step.
        finish: why it ended, if it did.
        tail: text that was held back and comes with the end.
    """

    id: str
    index: int
    tokens: tuple[int, ...] = ()
    text: str = ""
    started: bool = False
    finish: FinishReason | None = None
    tail: str = ""
    logprobs: tuple[dict[str, Any], ...] = ()
    usage: Usage | None = None


@dataclass(slots=True, kw_only=True)
class Scheduled(ABC):
    """What waits or runs.

    Attributes:
        id: of it, unique.
        prompt: ids of the tokens that are given.
        limit: the most tokens that may follow them.
        rank: of its tier, 0 goes first.
        deadline: when it must have ended, ms since the epoch.
        start_by: when it must have begun, None if it has.
        answer: ids that follow the prompt.
        cached: how many of prompt and answer the cache holds.
        slot: its place in the cache, -1 while it waits.
        ended: why it ended, if it did.
        owner: whose it is.
        number: orders those that the engine took by when they came.
        served: how many of its tokens were computed, those that had to be computed again counted once.
        started: whether it has had a place.
        paused: whether it has one but does not run.
    """

    reads: ClassVar[bool] = False
    """Whether it wants the hidden states of all of its tokens, and not the scores after the last one."""

    id: str
    prompt: Sequence[int]
    limit: int
    rank: int
    deadline: int
    start_by: int | None = None
    answer: list[int] = field(default_factory=list)
    cached: int = 0
    slot: int = -1
    ended: FinishReason | None = None
    owner: str = ""
    number: int = 0
    served: int = 0
    started: bool = False
    paused: bool = False

    @abstractmethod
    def take(self, made: Rows, ends: Collection[int]) -> Output | None:
        """Take what a step made of its tokens: scores, `[vocabulary]`, or states, `[tokens, hidden]`.

        Args:
            made: by the runner; the cache holds the tokens.
            ends: ids of the tokens that end an answer.
        """

    def end(self, reason: FinishReason) -> Output:
        """End it where it stands."""
        self.ended = reason
        return Output(self.id, len(self.answer), finish=reason)

    @property
    def alarm(self) -> int:
        """When it may run no further, unless it ends or, not begun yet, begins before: ms since the epoch."""
        return self.deadline if self.start_by is None else min(self.deadline, self.start_by)

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place among those that run: by tier, then deadline, then arrival."""
        return self.rank, self.deadline, self.number

    @property
    def known(self) -> int:
        """How many tokens it has: prompt and answer so far."""
        return len(self.prompt) + len(self.answer)

    @property
    def pending(self) -> int:
        """How many tokens the cache lacks before the next one can be chosen; one while it decodes."""
        return self.known - self.cached

    def next_tokens(self, most: int) -> Sequence[int]:
        """Return the next tokens, at least one and at most so many, that the cache is to take."""
        begin, end = self.cached, self.cached + min(most, self.pending)
        border = len(self.prompt)
        return [*self.prompt[begin:end], *self.answer[max(begin - border, 0) : max(end - border, 0)]]
