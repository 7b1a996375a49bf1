"""Pure: texts that an answer may not have anywhere, in whatever tokens it would come.

A token is banned when it would complete one: it holds the text whole, or the answer ends with its beginning and the
token begins with its rest. So the ban holds across the borders of tokens, and for every way to tokenize a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from inference_worker.vocabulary import Vocabulary


class BadWords:
    """The banned texts of one request, as tokens; shared by those who run it."""

    def __init__(self, words: Iterable[str], vocabulary: Vocabulary) -> None:
        """Look the texts up, which takes some ms a text: not for the engine's thread.

        Args:
            words: none of them empty.
            vocabulary: the bytes of each token.
        """
        self.vocabulary = vocabulary
        coded = [word.encode() for word in words]
        self.longest = max(len(word) for word in coded)
        """Bytes of the longest text."""
        self._whole = np.array([token for word in coded for token in vocabulary.containing(word)], dtype=np.intp)
        self._split: dict[bytes, npt.NDArray[np.intp]] = {}
        for word in coded:
            for cut in range(1, len(word)):
                if tokens := vocabulary.beginning_with(word[cut:]):
                    known = self._split.get(word[:cut], np.empty(0, dtype=np.intp))
                    self._split[word[:cut]] = np.concatenate([known, np.array(tokens, dtype=np.intp)])

    def after(self, tail: bytes) -> list[npt.NDArray[np.intp]]:
        """Return the tokens that may not follow an answer that ends with these bytes, in one or more arrays."""
        ends = (tail[-length:] for length in range(1, min(len(tail), self.longest - 1) + 1))
        return [self._whole, *(self._split[end] for end in ends if end in self._split)]


class SaidSoFar:
    """The last bytes of one answer, and what may not follow them."""

    def __init__(self, words: BadWords) -> None:
        self._words = words
        self._tail = b""

    def take(self, token: int) -> None:
        """Add the next token of the answer."""
        self._tail = (self._tail + self._words.vocabulary.bytes_of(token))[-self._words.longest :]

    def ban(self, logits: npt.NDArray[np.float32]) -> None:
        """Change scores, `[vocabulary]`, in place."""
        for tokens in self._words.after(self._tail):
            logits[tokens] = -np.inf
