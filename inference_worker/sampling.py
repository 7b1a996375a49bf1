"""Pure: scores to the next token. The choice at an index depends on the seed, the index and the scores alone.

So whoever goes on with an answer at index n chooses as the one who began it would have: nothing is carried along.
Randomness is Philox (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), keyed by the seed, with
the index as its counter.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from inference_worker.requests import Sampling

_WORD = 2**64
_FEW = 512
_MANTISSA = 53


def sample(logits: npt.NDArray[np.float32], how: Sampling, seed: int, index: int) -> int:
    """Choose a token.

    Args:
        logits: scores, `[vocabulary]`.
        how: temperature, top-k and top-p, applied in this order.
        seed: of the request, at least 0 and less than 2**64.
        index: of the token in the answer, from 0.

    Returns:
        The token's id.
    """
    if how.temperature == 0 or how.top_k == 1:
        return int(logits.argmax())
    ids = np.arange(len(logits)) if how.top_k is None else _best(logits, how.top_k)
    weights = np.exp((logits[ids].astype(np.float64) - logits.max()) / how.temperature)
    if how.top_p < 1:
        wanted = how.top_p * weights.sum()
        # Nearly always a few tokens make up the mass: sorting only those is what makes this cheap.
        best = _best(weights, _FEW)
        if weights[best].sum() < wanted:
            best = np.arange(len(weights))
        best = best[np.argsort(-weights[best], kind="stable")]
        kept = best[: int(np.searchsorted(np.cumsum(weights[best]), wanted)) + 1]
        ids, weights = ids[kept], weights[kept]
    mass = np.cumsum(weights)
    chosen = int(np.searchsorted(mass, uniform(seed, index) * mass[-1], side="right"))
    return int(ids[min(chosen, len(ids) - 1)])


def _best(values: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.intp]:
    """Return where the `count` highest values are, in any order that the values alone decide."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, len(values) - count)[-count:]


def uniform(seed: int, index: int) -> float:
    """Return a number in [0, 1) that is uniform over seeds and over indexes."""
    raw = np.random.Philox(key=seed % _WORD, counter=[0, index, 0, 0]).random_raw()
    return (int(raw) >> (64 - _MANTISSA)) / float(2**_MANTISSA)


def seed_of(task_id: str) -> int:
    """Return the seed of a request that names none: the same at every attempt of the task."""
    return int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8], "big") >> 1
