"""One text as the engine reads it: its tokens go through the model once, and their hidden states become one vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from inference_worker.scheduled import Output, Scheduled
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from inference_worker.runners.base import Rows

Pooling = Literal["mean", "last", "cls"]


@dataclass(slots=True, kw_only=True)
class Embedding(Scheduled):
    """A text that waits or is read; its prompt is all of it.

    Attributes:
        pooling: which of its tokens' states count: the mean of all, the last one's or the first one's.
    """

    reads: ClassVar[bool] = True

    pooling: Pooling
    limit: int = 0
    _pooled: npt.NDArray[np.float64] = field(init=False)

    def take(self, made: Rows, ends: Collection[int]) -> Output | None:  # noqa: ARG002 - of the port
        """Take the hidden states of the next tokens, `[tokens, hidden]`."""
        first = self.cached == len(made)  # also of a text that is read anew, since it lost its place
        match self.pooling:
            case "mean":
                summed = made.sum(axis=0, dtype=np.float64)
                self._pooled = summed if first else self._pooled + summed
            case "last":
                self._pooled = made[-1].astype(np.float64)
            case "cls" if first:
                self._pooled = made[0].astype(np.float64)
        return None if self.pending else self.end(FinishReason.STOP)

    def vector(self, *, dimensions: int | None = None, normalize: bool = True) -> Rows:
        """Return the vector of a text that was read, float32 `[dimensions]`.

        Args:
            dimensions: how many of its first numbers; by default all (Kusupati et al. 2022, "Matryoshka Representation
                Learning", arXiv:2205.13147: only models that were trained for it bear less).
            normalize: whether it has length 1.
        """
        pooled = self._pooled / len(self.prompt) if self.pooling == "mean" else self._pooled
        cut = pooled[:dimensions]
        length = float(np.linalg.norm(cut)) if normalize else 1.0
        vector: Rows = (cut / (length or 1.0)).astype(np.float32)
        return vector
