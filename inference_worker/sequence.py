"""One request as the engine runs it: its tokens, how far the cache holds them, its text, and when it ends.

A sequence may begin with a prefix: tokens of an answer that another worker began. They are replayed and not emitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference_worker.sampling import sample
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Container
    from collections.abc import Sequence as Listing

    import numpy as np
    import numpy.typing as npt

    from inference_worker.requests import Sampling
    from inference_worker.text import TextStream


@dataclass(frozen=True, slots=True)
class Output:
    """What a step gave a sequence.

    Attributes:
        id: the sequence's.
        index: of the first token, from 0; at an end without one, how many tokens the answer has.
        tokens: new ids, none or one.
        text: what became certain of the text with them.
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


@dataclass(slots=True)
class Sequence:
    """A request that waits or runs.

    Attributes:
        id: the task's id.
        prompt: ids of the prompt.
        how: sampling and stopping.
        seed: of the choice.
        limit: the most tokens of the answer, the prefix among them.
        rank: of its tier, 0 goes first.
        deadline: when it must have ended, ms since the epoch.
        start_by: when it must have begun, None if it has.
        text: the text of the answer.
        answer: ids of the answer.
        cached: how many of prompt and answer the cache holds.
        slot: its place in the cache, -1 while it waits.
        ended: why the answer ended, if it did.
    """

    id: str
    prompt: Listing[int]
    how: Sampling
    seed: int
    limit: int
    rank: int
    deadline: int
    text: TextStream
    start_by: int | None = None
    answer: list[int] = field(default_factory=list)
    cached: int = 0
    slot: int = -1
    ended: FinishReason | None = None

    def replay(self, prefix: Listing[int]) -> None:
        """Take the tokens that were accepted before; they may turn out to end the answer."""
        for token in prefix:
            self.answer.append(token)
            self.text.push(token)
        self._check()

    def overdue(self, now: int) -> bool:
        """Whether it may run no further: past its deadline, or not begun in time. An answer that is whole is neither."""
        late = now >= self.deadline or (self.start_by is not None and now >= self.start_by)
        return late and self.ended is None

    @property
    def pending(self) -> int:
        """How many tokens the cache lacks before the next one can be chosen; one while it decodes."""
        return len(self.prompt) + len(self.answer) - self.cached

    def next_tokens(self, most: int) -> Listing[int]:
        """Return the next tokens, at least one and at most so many, that the cache is to take."""
        begin, end = self.cached, self.cached + min(most, self.pending)
        border = len(self.prompt)
        return [*self.prompt[begin:end], *self.answer[max(begin - border, 0) : max(end - border, 0)]]

    def choose(self, logits: npt.NDArray[np.float32], ends: Container[int]) -> Output:
        """Choose the next token from its scores, `[vocabulary]`; a token of `ends` ends the answer and is not part of it."""
        index = len(self.answer)
        token = sample(logits, self.how, self.seed, index)
        if token in ends:
            return self.end(FinishReason.STOP)
        self.answer.append(token)
        text = self.text.push(token)
        self._check()
        tail = self.text.finish() if self.ended else ""
        return Output(self.id, index, (token,), text, finish=self.ended, tail=tail)

    def end(self, reason: FinishReason) -> Output:
        """End the answer where it stands. Only an answer that is whole ends with the text that was held back."""
        self.ended = reason
        whole = reason in {FinishReason.STOP, FinishReason.LENGTH}
        return Output(self.id, len(self.answer), finish=reason, tail=self.text.finish() if whole else "")

    def _check(self) -> None:
        if self.text.stopped:
            self.ended = FinishReason.STOP
        elif len(self.answer) >= self.limit:
            self.ended = FinishReason.LENGTH
