"""Pure: tokens that were said become less likely, or with a negative penalty likelier.

Repetition: a score above 0 is divided by the penalty, one below is multiplied by it, once for each token of prompt or
answer (Keskar et al., CTRL, arXiv:1909.05858, as transformers and vLLM have it). Presence and frequency: for each token
of the answer so far, `score - count * frequency - presence`, as the OpenAI API defines them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from inference_worker.options import Sampling


class Penalties:
    """The penalties of one answer, and what was said in it."""

    def __init__(self, how: Sampling, prompt: Sequence[int]) -> None:
        self.none = how.repetition_penalty == 1 and not how.presence_penalty and not how.frequency_penalty
        """Whether there are none."""
        self._how = how
        self._prompt = np.unique(np.asarray([] if self.none else prompt, dtype=np.intp))
        self._counts: dict[int, int] = {}

    def take(self, token: int) -> None:
        """Count the next token of the answer."""
        self._counts[token] = self._counts.get(token, 0) + 1

    def apply(self, logits: npt.NDArray[np.float32]) -> None:
        """Change scores, `[vocabulary]`, in place."""
        how, said = self._how, np.fromiter(self._counts, dtype=np.intp, count=len(self._counts))
        if how.repetition_penalty != 1:
            # Who stands twice in here gets the same value twice, and is penalized once.
            seen = np.concatenate([self._prompt, said])
            scores = logits[seen]
            factor = np.float32(how.repetition_penalty)
            logits[seen] = np.where(scores > 0, scores / factor, scores * factor)
        counts = np.fromiter(self._counts.values(), dtype=np.float32, count=len(self._counts))
        logits[said] -= counts * np.float32(how.frequency_penalty) + np.float32(how.presence_penalty)
