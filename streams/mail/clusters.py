"""Which mails of a corpus are versions of one another, so that no two of them stand on both sides of a split.

Near-duplicates are pairs whose sets of word shingles have a Jaccard index of at least a half, found by MinHash and
banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) and confirmed on the sets themselves. Mails of
one subject count as one thread. What is chained together by any of these is one cluster.
"""

from __future__ import annotations

import re
from collections import defaultdict
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIMILAR = 0.5
_SHINGLE = 4
"""Words of a shingle."""
_BANDS, _ROWS = 32, 3
"""A pair of Jaccard index 0.5 is found with a probability of 1 - (1 - 0.5**3)**32 = 0.986."""

Codes = np.ndarray[Any, np.dtype[np.int64]]
_Shingles = np.ndarray[Any, np.dtype[np.uint64]]


def clusters(mails: Sequence[tuple[str, str]]) -> Codes:
    """Return the index of the first mail of each mail's cluster, int64 [mails].

    Args:
        mails: subject and text of each.
    """
    joined = _Joined(len(mails))
    shingled = [_shingles(text) for _, text in mails]
    for one, other in _candidates(shingled):
        if joined.root(one) != joined.root(other) and _jaccard(shingled[one], shingled[other]) >= SIMILAR:
            joined.join(one, other)
    threads: dict[str, int] = {}
    for index, (subject, _) in enumerate(mails):
        if thread := _thread(subject):
            joined.join(index, threads.setdefault(thread, index))
    return np.array([joined.root(index) for index in range(len(mails))], np.int64)


def held_out(cluster_of: Codes, names: Sequence[str], share: float, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which mails are held out: about `share` of them, in whole clusters.

    A cluster's side follows from the seed and the name of its first mail alone, so that what is added to a corpus, or
    read differently, moves no mail of other clusters to the other side.
    """
    firsts = (f"{seed}:{names[cluster]}".encode() for cluster in cluster_of.tolist())
    draws = [int.from_bytes(blake2b(first, digest_size=8).digest()) / 2**64 for first in firsts]
    return np.array(draws) < share


class _Joined:
    """Disjoint sets (Tarjan 1975)."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, index: int) -> int:
        while (parent := self._parents[index]) != index:
            self._parents[index] = self._parents[parent]
            index = parent
        return index

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first


def _shingles(text: str) -> _Shingles:
    words = re.findall(r"[^\W\d_]+", text.lower())
    count = max(1, len(words) - _SHINGLE + 1)
    hashes = {crc32(" ".join(words[start : start + _SHINGLE]).encode()) for start in range(count)} if words else set()
    return np.array(sorted(hashes), np.uint64)


def _candidates(shingled: Sequence[_Shingles]) -> Iterator[tuple[int, int]]:
    """Yield pairs that agree in a band: neighbours in each bucket, for all of a bucket are chained."""
    generator = np.random.default_rng(0)  # of the hash functions, no part of a split's seed
    factors, offsets = generator.integers(0, 1 << 64, (2, _BANDS * _ROWS, 1), np.uint64)
    buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, hashes in enumerate(shingled):
        if len(hashes):
            # Multiply-shift (Dietzfelbinger 1996): the upper half of a product that overflows.
            least = ((factors * hashes + offsets) >> np.uint64(32)).min(axis=1).reshape(_BANDS, _ROWS)
            for band, rows in enumerate(least):
                buckets[band, rows.tobytes()].append(index)
    for bucket in buckets.values():
        yield from pairwise(bucket)
        yield from ((bucket[0], other) for other in bucket[2:])


def _jaccard(one: _Shingles, other: _Shingles) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _thread(subject: str) -> str:
    """Return what all mails of a thread have in their subject, or nothing where it says too little."""
    bare = re.sub(r"\b(?:re|fwd?|aw|sv|was)\b\s*(?:\[\d+\])?:|\[[^\]]*\]", " ", subject.lower())
    return " ".join(re.findall(r"[^\W\d_]+", bare))
