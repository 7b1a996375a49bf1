"""Answers that are given, as the engine weighs them: how likely the model is to say each of them after the prompt.

The prompt goes through the model once, for all of them. Then come the beginnings that they share, each once, the shorter
before the longer: `red`, `reddish` and `green` cost what `reddish` and `green` would. After each the model's scores tell
how likely each next token is; the last token of an answer is never computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from inference_worker.scheduled import Output, Scheduled
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inference_worker.runners.base import Rows

Tokens = tuple[int, ...]


def beginnings(answers: Collection[Sequence[int]]) -> list[Tokens]:
    """Return what all proper beginnings of the answers are, each once, a longer one right behind what it begins with."""
    return sorted({tuple(answer[:count]) for answer in answers for count in range(len(answer))})


@dataclass(slots=True, kw_only=True)
class Likelihoods(Scheduled):
    """A prompt and its possible answers, waiting or being weighed.

    Attributes:
        answers: ids of each, at least one.
        logs: the log probability of each, as far as it is known.
        answer: the beginning that is computed now.
        limit: how many beginnings there are: for so many tokens there must be room behind the prompt.
    """

    answers: Sequence[Sequence[int]]
    limit: int = field(init=False)
    logs: list[float] = field(init=False)
    _visits: list[Tokens] = field(init=False)
    _at: int = 0

    def __post_init__(self) -> None:
        """Begin with the prompt alone."""
        self._visits = beginnings(self.answers)
        self.limit = len(self._visits)
        self.logs = [0.0] * len(self.answers)

    def take(self, made: Rows, ends: Collection[int]) -> Output | None:  # noqa: ARG002 - of the port
        """Take the scores after the beginning that was computed, `[vocabulary]`, and go to the next one."""
        said = self._visits[self._at]
        scores = made.astype(np.float64)
        scores -= scores.max()
        total = float(np.log(np.exp(scores).sum()))
        for place, answer in enumerate(self.answers):
            if len(answer) > len(said) and tuple(answer[: len(said)]) == said:
                self.logs[place] += float(scores[answer[len(said)]]) - total
        self._at += 1
        if self._at == len(self._visits):
            return self.end(FinishReason.STOP)
        # All but the last token of the next beginning is in the cache: it is that of one before, from there on forgotten.
        self.answer = list(self._visits[self._at])
        self.cached = self.known - 1
        return None
