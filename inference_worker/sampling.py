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

    from inference_worker.options import Sampling

    Floats = npt.NDArray[np.float32]

_WORD = 2**64
_MANTISSA = 53
_COLD = 1e-5
"""A temperature below this is 0, as for vLLM."""
_NEGLIGIBLE = np.float32(1e-3)
"""Lesser weights, the likeliest token's being 1, are left aside where what remains has the wanted mass."""
_MANY = 2048
_COARSE = 18
"""Bits that are left of a weight's exponent and mantissa where thousands are told apart by few levels."""
_BLOCK = 256


def sample(logits: Floats, how: Sampling, seed: int, index: int) -> int:
    """Choose a token.

    Args:
        logits: scores, `[vocabulary]`; those of tokens that may not come are minus infinity.
        how: temperature, min-p (Nguyen et al., arXiv:2407.01082), top-k and top-p (Holtzman et al., arXiv:1904.09751),
            applied in this order, which is vLLM's; each by the probabilities that are left of those before it.
        seed: of the request, at least 0 and less than 2**64.
        index: of the token in the answer, from 0.

    Returns:
        The token's id.
    """
    best = int(logits.argmax())
    if how.temperature < _COLD or how.top_k == 1:
        return best
    weights = np.exp((logits - logits[best]) / np.float32(how.temperature))
    ids = None
    if how.min_p > 0:
        ids = np.flatnonzero(weights >= np.float32(how.min_p))
        weights = weights[ids]
    if how.top_k is not None and how.top_k < len(weights):
        kept = largest(weights, how.top_k)
        ids, weights = kept if ids is None else ids[kept], weights[kept]
    if how.top_p < 1:
        kept = _nucleus(weights, how.top_p)
        ids, weights = kept if ids is None else ids[kept], weights[kept]
    chosen = _at(weights, uniform(seed, index))
    return chosen if ids is None else int(ids[chosen])


def largest(values: Floats, count: int) -> npt.NDArray[np.intp]:
    """Return where the `count` highest values are, in order of place; of equal ones the first."""
    if count >= len(values):
        return np.arange(len(values))
    border = np.partition(values, len(values) - count)[len(values) - count]
    return _down_to(values, border, count)


def _down_to(values: Floats, border: np.float32, count: int) -> npt.NDArray[np.intp]:
    """Return where the `count` highest values are, the least of which is known."""
    found = np.flatnonzero(values >= border)
    if len(found) > count:
        equal = np.flatnonzero(values[found] == border)
        found = np.delete(found, equal[count - len(found) :])
    return found


def _nucleus(weights: Floats, share: float) -> npt.NDArray[np.intp]:
    """Return where the fewest weights are that make up a share of them all, in order of place."""
    wanted = share * float(weights.sum())
    # Nearly always a few tokens make up the mass: sorting only those is what makes this cheap.
    few = np.flatnonzero(weights > _NEGLIGIBLE)
    tried = weights[few]
    if len(few) <= _MANY and float(tried.sum()) >= wanted:
        border, count = _border(tried, wanted)
        return few[_down_to(tried, border, count)]
    # Else only those are sorted that may be the border: positive floats are in the order of their bits.
    coarse = weights.view(np.int32) >> _COARSE
    masses = np.cumsum(np.bincount(coarse, weights=weights)[::-1])
    wanted = share * float(masses[-1])
    place = int(np.searchsorted(masses, wanted))
    level = len(masses) - 1 - place
    before = float(masses[place - 1]) if place else 0.0
    border, count = _border(weights[coarse == level], wanted - before)
    return _down_to(weights, border, int(np.count_nonzero(coarse > level)) + count)


def _border(weights: Floats, wanted: float) -> tuple[np.float32, int]:
    """Return the least of the highest weights that have the wanted sum, and how many those are."""
    falling = np.sort(weights)[::-1]
    last = min(int(np.searchsorted(np.cumsum(falling), np.float32(wanted))), len(falling) - 1)
    return falling[last], last + 1


def _at(weights: Floats, point: float) -> int:
    """Return which weight covers a point in [0, 1) of their sum: first the block of it, then the weight within."""
    starts = np.arange(0, len(weights), _BLOCK)
    blocks = np.cumsum(np.add.reduceat(weights, starts), dtype=np.float64)
    wanted = point * blocks[-1]
    block = min(int(np.searchsorted(blocks, wanted, side="right")), len(blocks) - 1)
    start = int(starts[block])
    before = blocks[block - 1] if block else 0.0
    within = before + np.cumsum(weights[start : start + _BLOCK], dtype=np.float64)
    chosen = start + min(int(np.searchsorted(within, wanted, side="right")), len(within) - 1)
    # Rounding may lead past the last one that has any weight.
    return chosen if weights[chosen] > 0 else int(np.flatnonzero(weights[: chosen + 1])[-1])


def uniform(seed: int, index: int) -> float:
    """Return a number in [0, 1) that is uniform over seeds and over indexes."""
    raw = np.random.Philox(key=seed % _WORD, counter=[0, index, 0, 0]).random_raw()
    return (int(raw) >> (64 - _MANTISSA)) / float(2**_MANTISSA)


def seed_of(task_id: str) -> int:
    """Return the seed of a request that names none: the same at every attempt of the task."""
    return int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8], "big") >> 1
