"""Pure: one answer's choice of its next token, by all that the request asks for, in vLLM's order.

    what it keeps to (JSON Schema, expression), bad words, the ends that `min_tokens` forbids
    repetition penalty, then frequency and presence
    temperature, min-p, top-k, top-p, and the draw (`sampling`)

Among what bans the order makes no difference. Where nothing but an end is left, the answer may end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_worker import logprobs
from inference_worker.bad_words import SaidSoFar
from inference_worker.errors import ConstraintError
from inference_worker.penalties import Penalties
from inference_worker.sampling import sample

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt

    from inference_worker.bad_words import BadWords
    from inference_worker.constraints import Constraint
    from inference_worker.options import Sampling
    from inference_worker.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Guides:
    """What was prepared for a request beside the engine; shared by all that run it.

    Attributes:
        vocabulary: the bytes of each token, for log probabilities; None where none are asked for.
        constraint: what the answer keeps to, at its beginning.
        bad_words: what is nowhere in it.
    """

    vocabulary: Vocabulary | None = None
    constraint: Constraint | None = None
    bad_words: BadWords | None = None


UNGUIDED = Guides()


class Choice:
    """Chooses the tokens of one answer, each by the answer so far."""

    def __init__(self, how: Sampling, seed: int, prompt: Sequence[int], guides: Guides = UNGUIDED) -> None:
        self._how = how
        self._seed = seed
        self._count = 0
        self._penalties = Penalties(how, prompt)
        self._constraint = guides.constraint.fresh() if guides.constraint else None
        self._said = SaidSoFar(guides.bad_words) if guides.bad_words else None
        self._vocabulary = guides.vocabulary

    @property
    def done(self) -> bool:
        """Whether the answer is all that its constraint allows."""
        return self._constraint is not None and self._constraint.done

    def take(self, token: int) -> None:
        """Add a token to the answer.

        Raises:
            ConstraintError: it can't be added to what the answer keeps to.
        """
        self._count += 1
        self._penalties.take(token)
        if self._constraint:
            self._constraint.take(token)
        if self._said:
            self._said.take(token)

    def next(self, logits: npt.NDArray[np.float32], ends: Collection[int]) -> int:
        """Choose the next token, without adding it.

        Args:
            logits: the model's scores, `[vocabulary]`; they are not changed.
            ends: ids of the tokens that end an answer.

        Raises:
            ConstraintError: no token is left, or it took too much work to know which are.
        """
        scores = logits
        early = self._count < self._how.least
        if self._constraint or self._said or early or not self._penalties.none:
            scores = logits.copy()
            self._ban(scores, ends if early else ())
            if not self._penalties.none:
                self._penalties.apply(scores)
        return sample(scores, self._how, self._seed, self._count)

    def logprob(self, logits: npt.NDArray[np.float32], token: int) -> dict[str, Any] | None:
        """Return the log probability of a token, if the request asks for it."""
        if not self._how.logprobs or self._vocabulary is None:
            return None
        return logprobs.entry(logits, token, self._how.top_logprobs, self._vocabulary)

    def _ban(self, scores: npt.NDArray[np.float32], ends: Collection[int]) -> None:
        if self._constraint:
            self._constraint.apply(scores)
        if self._said:
            self._said.ban(scores)
        if ends:
            places = [end for end in ends if end < len(scores)]
            kept = scores[places]
            scores[places] = -np.inf
            if scores.max() == -np.inf:
                scores[places] = kept
        if scores.max() == -np.inf:
            raise ConstraintError(
                "bad_words and response_format together leave nothing to say", field="payload.bad_words"
            )
