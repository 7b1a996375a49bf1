"""The port of a model's arithmetic: token ids in, scores of the next token out, or what the model made of each.

A runner holds a cache of `slots` sequences. What a slot holds before `start` is what earlier works put there; what it held
from there on is forgotten. So a work that starts at 0 begins the slot anew, and nothing needs to be freed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Work:
    """What one sequence does in a step.

    Attributes:
        slot: its place in the cache.
        tokens: ids that enter the cache now, at least one: one for a decode, many for a chunk of a prompt.
        start: position of the first of them; the slot holds all before it.
        scored: whether the scores after the last one are wanted (not in the middle of a prompt).
        states: whether the hidden states of all of them are wanted, after the last norm; then it is not scored.
    """

    slot: int
    tokens: Sequence[int]
    start: int
    scored: bool = True
    states: bool = False


class Runner(ABC):
    """Runs one model. Used by one thread at a time."""

    slots: int
    """Sequences that the cache holds."""
    max_context: int
    """Tokens that a slot holds."""
    bytes_per_token: int
    """Bytes of the cache that a token takes."""
    hidden: int
    """Numbers of a hidden state; 0 of one that gives none."""
    format: str
    """Number format of the weights, such as `bfloat16`."""

    @abstractmethod
    def step(self, batch: Sequence[Work]) -> list[Rows]:
        """Run one step for all of `batch`, whose slots differ.

        Returns:
            For each work that wants something, in the order of `batch`, in float32: scores of the next token,
            `[vocabulary]`, or states, `[tokens, hidden]`.
        """
