"""What an owner taught by correcting labels: a few vectors beside the base, which bend it near them and nowhere else.

A correction keeps the mail's vector and what it should have been called. A mail that is read later moves towards what
its near neighbours were called, by a kernel-weighted vote (Nadaraya 1964, Watson 1964) that is added to the base's
logits: at once, by a bounded amount, and by nothing at all where no corrected mail is near. It is stored as
safetensors, which hold numbers and no code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, deserialize

from streams.errors import HeadError, PayloadError
from streams.mail.labels import URGENCIES
from streams.mail.tensors import to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.mail.labels import Floats

MAX_CORRECTIONS = 1000
"""The oldest are forgotten beyond that: 768 kB, and a product that takes a tenth of a millisecond."""
MAX_LABELS = 200
MAX_LABEL = 100
MAX_BYTES = 2 * 1024 * 1024
WIDTH = 384

FAR, NEAR = 0.6, 0.9
"""Cosines at which a corrected mail begins to count and at which it counts fully. Unrelated mails of one language lie
below 0.6 of one another; what the same sender writes again lies above 0.9."""
STRENGTH = 24.0
"""The most that corrections add to a logit."""
DOUBT = 0.5
"""Full neighbours by which the base is trusted against corrections: one alone adds two thirds of `STRENGTH`, 16, which
turns around all that the base is sure of (its log-odds of spam lie between -17 and 16 on the corpus)."""
_SAME = 0.995
"""Above this cosine it is the same mail again, and the later correction takes the earlier one's place."""

_FORMAT, _VERSION = "barnabas.mail.head", "1"
_NONE = -1


@dataclass(frozen=True, slots=True)
class Correction:
    """What a mail should have been called; None where it was called right or nothing is said.

    Attributes:
        category: the name of a category, built in or the owner's own.
        urgency: `low`, `normal` or `high`.
        spam: whether it is spam.
    """

    category: str | None = None
    urgency: str | None = None
    spam: bool | None = None


def _no_vectors() -> np.ndarray[Any, np.dtype[np.float16]]:
    return np.zeros((0, WIDTH), np.float16)


def _no_codes() -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class OwnerHead:
    """An owner's corrections, the oldest first. It is never changed: `taught` makes another.

    Attributes:
        names: the categories that were named.
        vectors: of the corrected mails, unit length, float16 [corrections, 384].
        categories: each one's index in `names`, or -1, int16 [corrections].
        urgencies: each one's index in `URGENCIES`, or -1.
        spam: 1 for spam, 0 for none, -1 where nothing was said.
    """

    names: tuple[str, ...] = ()
    vectors: np.ndarray[Any, np.dtype[np.float16]] = field(default_factory=_no_vectors)
    categories: np.ndarray[Any, np.dtype[np.int16]] = field(default_factory=_no_codes)
    urgencies: np.ndarray[Any, np.dtype[np.int16]] = field(default_factory=_no_codes)
    spam: np.ndarray[Any, np.dtype[np.int16]] = field(default_factory=_no_codes)

    def __len__(self) -> int:
        return len(self.vectors)

    def taught(self, vector: Floats, correction: Correction) -> OwnerHead:
        """Return this head with one more correction.

        Args:
            vector: of the mail (`Verdict.vector`), float32 [384].
            correction: what it should have been called.

        Raises:
            PayloadError: the correction says nothing, or names a label that can't be.
        """
        names, codes = self._codes(correction)
        near = self.vectors.astype(np.float32) @ vector if len(self) else np.zeros(0, np.float32)
        same = np.flatnonzero(near > _SAME)
        if len(same):
            # What the new correction does not speak of stays as it was said before.
            last = int(same[-1])
            before = (self.categories[last], self.urgencies[last], self.spam[last])
            codes = tuple(int(old) if new == _NONE else new for new, old in zip(codes, before, strict=True))
        keep = np.flatnonzero(near <= _SAME)[-(MAX_CORRECTIONS - 1) :]
        columns = (
            np.append(column[keep], np.int16(code))
            for column, code in zip((self.categories, self.urgencies, self.spam), codes, strict=True)
        )
        vectors = np.concatenate([self.vectors[keep], vector.astype(np.float16)[None]])
        return _compact(OwnerHead(names, vectors, *columns))

    def _codes(self, correction: Correction) -> tuple[tuple[str, ...], tuple[int, ...]]:
        if correction == Correction():
            raise PayloadError("say what the mail should have been: category, urgency or spam", field="category")
        names, category = self.names, _NONE
        if correction.category is not None:
            if not 0 < len(correction.category) <= MAX_LABEL:
                raise PayloadError(f"a category's name has 1 to {MAX_LABEL} characters", field="category")
            if correction.category not in names:
                names = (*names, correction.category)
            if len(names) > MAX_LABELS:
                raise PayloadError(f"at most {MAX_LABELS} categories can be taught", field="category")
            category = names.index(correction.category)
        if correction.urgency is not None and correction.urgency not in URGENCIES:
            raise PayloadError(f"an urgency is one of {', '.join(URGENCIES)}", field="urgency")
        urgency = _NONE if correction.urgency is None else URGENCIES.index(correction.urgency)
        return names, (category, urgency, _NONE if correction.spam is None else int(correction.spam))

    def category_logits(self, vectors: Floats, names: Sequence[str]) -> Floats:
        """Return what is added to the logits of the categories `names`, float32 [mails, names]."""
        position = {name: index for index, name in enumerate(names)}
        known = np.array([position.get(name, _NONE) for name in self.names] or [_NONE], np.int16)
        codes = np.where(self.categories >= 0, known[self.categories], _NONE)
        return self._votes(vectors, codes, len(names))

    def urgency_logits(self, vectors: Floats) -> Floats:
        """Return what is added to the logits of `URGENCIES`, float32 [mails, 3]."""
        return self._votes(vectors, self.urgencies, len(URGENCIES))

    def spam_logits(self, vectors: Floats) -> Floats:
        """Return what is added to the log-odds of spam, float32 [mails]."""
        votes = self._votes(vectors, self.spam, 2)
        difference: Floats = votes[:, 1] - votes[:, 0]
        return difference

    def _votes(self, vectors: Floats, codes: np.ndarray[Any, np.dtype[np.int16]], labels: int) -> Floats:
        """Return `STRENGTH` shared out to the labels of near corrections, float32 [mails, labels]."""
        said = codes >= 0
        if not said.any():
            return np.zeros((len(vectors), labels), np.float32)
        cosines = vectors @ self.vectors[said].astype(np.float32).T
        weights = np.clip((cosines - FAR) / (NEAR - FAR), 0, 1) ** 2
        one_hot = np.eye(labels, dtype=np.float32)[codes[said]]
        votes: Floats = STRENGTH * (weights @ one_hot) / (DOUBT + weights.sum(1, keepdims=True))
        return votes.astype(np.float32)

    def to_bytes(self) -> bytes:
        """Return the head as safetensors."""
        tensors = {
            "vectors": self.vectors,
            "categories": self.categories,
            "urgencies": self.urgencies,
            "spam": self.spam,
        }
        metadata = {"format": _FORMAT, "version": _VERSION, "names": json.dumps(self.names)}
        return to_bytes(tensors, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> OwnerHead:
        """Return the head that `data` holds.

        Raises:
            HeadError: it is no head, of a version that is not known here, or damaged; each bound is checked.
        """
        metadata, tensors = _read(data)
        if (metadata.get("format"), metadata.get("version")) != (_FORMAT, _VERSION):
            raise HeadError(f"it is no {_FORMAT} of version {_VERSION}")
        head = cls(_names(metadata.get("names", "")), *_arrays(tensors))
        head._check()
        return head

    def _check(self) -> None:
        bounds = {"categories": len(self.names), "urgencies": len(URGENCIES), "spam": 2}
        for name, bound in bounds.items():
            codes = getattr(self, name)
            if codes.size and not (codes.min() >= _NONE and codes.max() < bound):
                raise HeadError(f"{name}: a code lies outside of -1 to {bound - 1}")
        lengths = np.linalg.norm(self.vectors.astype(np.float32), axis=1)
        if not np.all(np.abs(lengths - 1) < 0.01):  # also where one is no number
            raise HeadError("vectors: they are not of unit length")


def _compact(head: OwnerHead) -> OwnerHead:
    """Return the head without names that no correction uses any more."""
    used = [int(code) for code in np.unique(head.categories) if code >= 0]
    moved = np.full(len(head.names) + 1, _NONE, np.int16)  # its last answers the code -1
    moved[used] = np.arange(len(used), dtype=np.int16)
    return replace(head, names=tuple(head.names[code] for code in used), categories=moved[head.categories])


def _read(data: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    if len(data) > MAX_BYTES:
        raise HeadError(f"it is larger than {MAX_BYTES} bytes")
    try:
        tensors = dict(deserialize(data))  # type: ignore[no-untyped-call]
        # The library reads metadata only from files: they are the JSON in front (the format's own description).
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise HeadError(f"it is no safetensors file: {error}") from None
    return header.get("__metadata__") or {}, tensors


def _names(text: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) > MAX_LABELS or len(set(map(str, names))) != len(names):
        raise HeadError(f"names: at most {MAX_LABELS} different ones are expected")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_LABEL for name in names):
        raise HeadError(f"names: each has 1 to {MAX_LABEL} characters")
    return tuple(names)


def _arrays(tensors: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """Return the four arrays of a head, each of its type and shape."""
    count = tensors.get("spam", {}).get("shape", [0])[0:1]
    wanted = {"vectors": ("F16", [*count, WIDTH]), **dict.fromkeys(("categories", "urgencies", "spam"), ("I16", count))}
    arrays = []
    for name, (dtype, shape) in wanted.items():
        tensor = tensors.get(name, {})
        if (tensor.get("dtype"), tensor.get("shape")) != (dtype, shape) or count > [MAX_CORRECTIONS]:
            raise HeadError(f"{name}: {dtype} of shape {shape}, at most {MAX_CORRECTIONS} long, is expected")
        kind = np.float16 if dtype == "F16" else np.int16
        arrays.append(np.frombuffer(tensor["data"], kind).reshape(shape))
    return arrays
