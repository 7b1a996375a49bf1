"""The bytes of each token of a model, and the index of them that constraints are computed by; made when first needed.

The index takes half a second and some ten MB, so a worker that is never asked for what needs it has none.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

from llguidance import LLTokenizer

from inference_worker.errors import UnsupportedOptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tokenizers import Tokenizer


class Vocabulary:
    """What the tokens of a model spell."""

    def __init__(self, tokenizer: Tokenizer, ends: Iterable[int]) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: byte-level or with byte fallback.
            ends: ids of the tokens that end an answer.
        """
        self._tokenizer = tokenizer
        self._ends = sorted(ends)
        self._lock = threading.Lock()
        self._index: LLTokenizer | None = None

    @property
    def index(self) -> LLTokenizer:
        """The index.

        Raises:
            UnsupportedOptionError: this tokenizer's tokens don't spell bytes.
        """
        with self._lock:
            if self._index is None:
                self._index = self._made()
            return self._index

    def _made(self) -> LLTokenizer:
        try:
            return LLTokenizer(self._tokenizer.to_str(), eos_token=self._ends)
        except ValueError as error:
            raise UnsupportedOptionError(
                f"this model's tokenizer does not tell the bytes of its tokens: {error}"
            ) from None

    def bytes_of(self, token: int) -> bytes:
        """Return what a token spells; nothing where it is a control token."""
        index = self.index
        return b"" if index.is_special_token(token) else index.decode_bytes([token])

    @cached_property
    def _sorted(self) -> list[tuple[bytes, int]]:
        """All tokens that spell something, in the order of it."""
        return sorted((said, token) for token in range(self.index.vocab_size) if (said := self.bytes_of(token)))

    def beginning_with(self, said: bytes) -> list[int]:
        """Return the tokens whose bytes begin with these."""
        return [token for _, token in self._between(said)]

    def containing(self, said: bytes) -> list[int]:
        """Return the tokens whose bytes contain these."""
        return [token for whole, token in self._sorted if said in whole]

    def _between(self, said: bytes) -> list[tuple[bytes, int]]:
        first = bisect_left(self._sorted, said, key=lambda one: one[0])
        last = first
        while last < len(self._sorted) and self._sorted[last][0].startswith(said):
            last += 1
        return self._sorted[first:last]
