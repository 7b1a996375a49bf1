"""Whether a mail is spam: a linear head on its words, its form and the encoder's vector, with a calibrated probability.

It was trained by `python -m streams.mail train` and is shipped as safetensors, which hold numbers and no code. Each
feature's part in the score is known, and so are the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from streams.errors import HeadError
from streams.mail.features import features, key
from streams.mail.form import FORM
from streams.mail.learn import sigmoid
from streams.mail.reasons import Reason, strongest
from streams.mail.tensors import to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.mail.features import Features
    from streams.mail.labels import Floats
    from streams.mail.learn import Doubles
    from streams.mail.message import Mail

WIDTH = 384
FEW = 20
"""Known words of a mail below which they are too few to say much."""
_SHAPES = {
    "keys": ("uint64", None),
    "words": ("float32", None),
    "form": ("float32", (len(FORM),)),
    "vector": ("float32", (WIDTH,)),
    "scale": ("float64", (4,)),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the head says of a mail.

    Attributes:
        probability: that it is spam.
        is_spam: whether that is above the threshold.
        reasons: what made it likelier.
    """

    probability: float
    is_spam: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SpamHead:
    """The weights.

    Attributes:
        keys: of the words that are known, ascending, uint64 [words].
        words: the weight of each, float32 [words].
        form: the weight of each count in `FORM`, float32.
        vector: the weight of each place of the encoder's vector, float32 [384].
        scale: intercept, the calibration's slope and intercept, and the threshold of the probability, float64 [4].
    """

    keys: np.ndarray[Any, np.dtype[np.uint64]]
    words: Floats
    form: Floats
    vector: Floats
    scale: np.ndarray[Any, np.dtype[np.float64]]

    @classmethod
    @cache
    def shipped(cls) -> SpamHead:
        """Return the head that comes with this package."""
        return cls.from_bytes((files("streams.mail") / "data" / "spam.safetensors").read_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> SpamHead:
        """Return the head that `data` holds.

        Raises:
            HeadError: it is no head of these features.
        """
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError) as error:  # a key: of a type that numpy does not have
            raise HeadError(f"it is no safetensors file: {error}") from None
        for name, (kind, shape) in _SHAPES.items():
            tensor = tensors.get(name)
            if tensor is None or tensor.dtype != kind or tensor.shape != (shape or (tensor.size,)):
                raise HeadError(f"{name}: {kind} of shape {shape or 'words'} is expected")
            if not np.isfinite(tensor).all():
                raise HeadError(f"{name}: each must be a finite number")
        keys = tensors["keys"]
        if keys.shape != tensors["words"].shape or not len(keys) or np.any(keys[1:] <= keys[:-1]):
            raise HeadError("keys: they must ascend, one for each weight")
        return cls(**{name: tensors[name] for name in _SHAPES})

    def to_bytes(self, metadata: dict[str, str]) -> bytes:
        """Return the head as safetensors, with what tells where it came from."""
        return to_bytes({name: getattr(self, name) for name in _SHAPES}, metadata)

    def judge(self, mail: Mail, vector: Floats, taught: float = 0.0) -> Judged:
        """Return what the head says of a mail.

        Args:
            mail: the mail.
            vector: of the encoder, unit length, float32 [384].
            taught: what an owner's corrections add to the log-odds.
        """
        seen = features(mail)
        _, slope, shift, _ = self.scale.tolist()
        parts = [
            Reason("its meaning as a whole", slope * float(self.vector @ vector)),
            Reason("your corrections", taught),
        ]
        for names, weights in (self._known(seen), (FORM, self.form * seen.form)):
            parts += [Reason(name, slope * weight) for name, weight in zip(names, weights.tolist(), strict=True)]
        log_odds = slope * self.score(seen, vector) + shift + taught
        probability = float(sigmoid(np.array(log_odds)))
        return Judged(probability, probability >= self.threshold, strongest(parts) if log_odds > 0 else ())

    def score(self, seen: Features, vector: Floats) -> float:
        """Return the sum of what was seen, before it is calibrated."""
        _, weights = self._known(seen)
        return float(weights.sum() + self.form @ seen.form + self.vector @ vector + self.scale[0])

    def probabilities(self, scores: Doubles) -> Doubles:
        """Return what scores mean."""
        return sigmoid(self.scale[1] * scores + self.scale[2])

    @property
    def threshold(self) -> float:
        """The probability from which on a mail is called spam."""
        return float(self.scale[3])

    def _known(self, seen: Features) -> tuple[Sequence[str], Floats]:
        """Return the words that have a weight, and what each adds to the score."""
        keys = np.array([key(word) for word in seen.words], np.uint64)
        places = np.searchsorted(self.keys[:-1], keys)  # the last place stands for all that lie beyond
        hits = np.flatnonzero(self.keys[places] == keys)
        weights: Floats = self.words[places[hits]] * np.float32(shares(np.array(len(hits))))
        return [seen.words[hit] for hit in hits], weights


def shares(known: np.ndarray[Any, np.dtype[np.int64]]) -> Doubles:
    """Return what one word counts in mails with so many known ones.

    A long mail has no louder voice than a short one, and a mail of which hardly a word is known, as in most languages,
    has a low one.
    """
    counts: Doubles = 1 / np.sqrt(known + FEW)
    return counts
