"""The port of a model's arithmetic: token ids in, scores of the next token out.

A runner holds a cache of `slots` sequences. What a slot holds before `start` is what earlier works put there; a work
that starts at 0 begins the slot anew, so nothing needs to be freed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Work:
    """What one sequence does in a step.

    Attributes:
        slot: its place in the cache.
        tokens: ids that enter the cache now, at least one: one for a decode, many for a chunk of a prompt.
        start: position of the first of them; the slot holds all before it.
        scored: whether the scores after the last one are wanted (not in the middle of a prompt).
    """

    slot: int
    tokens: Sequence[int]
    start: int
    scored: bool = True


class Runner(ABC):
    """Runs one model. Used by one thread at a time."""

    slots: int
    """Sequences that the cache holds."""
    max_context: int
    """Tokens that a slot holds."""
    format: str
    """Number format of the weights, such as `bfloat16`."""

    @abstractmethod
    def step(self, batch: Sequence[Work]) -> Logits:
        """Run one step for all of `batch`, whose slots differ.

        Returns:
            Scores of the next token, float32 `[number of scored works, vocabulary]`, in the order of `batch`.
        """
