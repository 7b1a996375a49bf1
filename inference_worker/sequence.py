"""One request for an answer as the engine runs it: how each token is chosen, its text, and when it ends.

A sequence may begin with a prefix: tokens of an answer that another worker began. They are replayed and not emitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference_worker.choosing import UNGUIDED, Choice, Guides
from inference_worker.errors import ConstraintError
from inference_worker.scheduled import Output, Scheduled
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Sequence as Listing

    from inference_worker.options import Sampling
    from inference_worker.runners.base import Rows
    from inference_worker.text import TextStream


@dataclass(slots=True, kw_only=True)
class Sequence(Scheduled):
    """A request for an answer that waits or runs.

    Attributes:
        how: sampling and stopping.
        seed: of the choice.
        limit: the most tokens of the answer, the prefix among them.
        text: the text of the answer.
        answer: ids of the answer.
        failure: why no token can follow, where it ended for that.
        guides: what was prepared for the choice.
    """

    how: Sampling
    seed: int
    text: TextStream
    failure: ConstraintError | None = None
    guides: Guides = UNGUIDED
    _choice: Choice = field(init=False)

    def __post_init__(self) -> None:
        """Begin to choose."""
        self._choice = Choice(self.how, self.seed, self.prompt, self.guides)

    def replay(self, prefix: Listing[int]) -> None:
        """Take the tokens that were accepted before; they may turn out to end the answer."""
        try:
            for token in prefix:
                self.answer.append(token)
                self.text.push(token)
                self._choice.take(token)
        except ConstraintError as error:
            self.failure, self.ended = error, FinishReason.ERROR
            return
        self._check()

    def take(self, made: Rows, ends: Collection[int]) -> Output:
        """Choose the next token from its scores, `[vocabulary]`; a token of `ends` ends the answer and is not part of it."""
        index = len(self.answer)
        try:
            token = self._choice.next(made, ends)
            if token in ends:
                return self.end(FinishReason.STOP)
            self._choice.take(token)
        except ConstraintError as error:
            self.failure = error
            return self.end(FinishReason.ERROR)
        self.answer.append(token)
        text = self.text.push(token)
        self._check()
        tail = self.text.finish() if self.ended else ""
        logprob = self._choice.logprob(made, token)
        logprobs = () if logprob is None else (logprob,)
        return Output(self.id, index, (token,), text, finish=self.ended, tail=tail, logprobs=logprobs)

    def end(self, reason: FinishReason) -> Output:
        """End the answer where it stands. Only an answer that is whole ends with the text that was held back."""
        self.ended = reason
        whole = reason in {FinishReason.STOP, FinishReason.LENGTH}
        return Output(self.id, len(self.answer), finish=reason, tail=self.text.finish() if whole else "")

    def _check(self) -> None:
        if self.text.stopped or self._choice.done:
            self.ended = FinishReason.STOP
        elif len(self.answer) >= self.limit:
            self.ended = FinishReason.LENGTH
