"""A mail's place among others, by which a correction finds the mails near it.

The encoder knows the Latin script well. In others unrelated mails lie as near to one another as related ones do in
English (Greek, Hindi and Korean above 0.8), and of some it reads nothing: one correction would turn all mails of a
language. There a mail's place is told by its letters: hashed trigrams with a sign (Weinberger et al. 2009,
arXiv:0902.2206), of which unrelated mails share few.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from streams.mail.labels import Floats
    from streams.mail.model import Encoded

_CHARACTERS = 2560
"""Of a text that are looked at: as many as the encoder looks at."""
_LATIN_ENDS = "\u0250"
_DIGIT = re.compile(r"\d")


def place(encoded: Encoded) -> Floats:
    """Return a mail's place, unit length, float32 [384]: the encoder's vector, where it knows the script."""
    text = encoded.text[:_CHARACTERS]
    letters = [character for character in text if character.isalpha()]
    if 2 * sum(character < _LATIN_ENDS for character in letters) > len(letters):
        return encoded.vector
    sums = _trigrams(_DIGIT.sub("0", text.casefold()), len(encoded.vector))
    # Of next to nothing there is no trigram, or two that undo one another.
    return sums / np.linalg.norm(sums) if sums.any() else encoded.vector


def _trigrams(text: str, width: int) -> Floats:
    """Return how many of a text's different trigrams fall on each place, each with a sign of its own, [width]."""
    grams = {text[start : start + 3] for start in range(len(text) - 2)}
    hashes = np.array([crc32(gram.encode("utf-8", "replace")) for gram in grams], np.int64)
    return np.bincount((hashes >> 1) % width, np.where(hashes & 1, 1, -1), width).astype(np.float32)
