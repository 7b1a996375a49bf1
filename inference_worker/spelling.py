"""Pure: what each token of a tokenizer spells, in bytes, where its tokens spell bytes at all."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer

_FALLBACK = re.compile("<0x([0-9A-Fa-f]{2})>")


class Spelling(dict[int, bytes]):
    """The bytes of each token; made when first needed. Those of special tokens are none.

    Attributes:
        drops: a text's first letters, if it begins so.
    """

    def __init__(self, tokenizer: Tokenizer, spell: Callable[[str], bytes], drops: str = "") -> None:
        """Spell a tokenizer's tokens, each by its letters."""
        super().__init__()
        self.drops = drops
        self._tokenizer = tokenizer
        self._spell = spell
        self._special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Spelling | None:
        """Return how a tokenizer spells; None where the text of a token depends on those beside it."""
        decoder = json.loads(tokenizer.to_str())["decoder"]
        match decoder:
            case {"type": "ByteLevel"}:
                return cls(tokenizer, _byte_level())
            case {"type": "Sequence", "decoders": [{"type": "Replace"} as blank, {"type": "ByteFallback"}, *rest]}:
                return cls._falling_back(tokenizer, blank, rest)
        return None

    @classmethod
    def _falling_back(cls, tokenizer: Tokenizer, blank: dict[str, Any], rest: list[dict[str, Any]]) -> Spelling | None:
        drops = ""
        for step in rest:
            match step:
                case {"type": "Fuse"}:
                    continue
                case {"type": "Strip", "content": str(letter), "start": int(count), "stop": 0}:
                    drops = letter * count
                case _:
                    return None
        match blank:
            case {"pattern": {"String": str(mark)}, "content": str(meant)} if len(drops) <= 1:
                return cls(tokenizer, _falling_back(mark, meant), drops)
        return None

    def __missing__(self, token: int) -> bytes:
        """Spell a token for the first time."""
        letters = "" if token in self._special else self._tokenizer.id_to_token(token) or ""
        self[token] = self._spell(letters)
        return self[token]


def _byte_level() -> Callable[[str], bytes]:
    """Each letter stands for a byte (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    byte = {chr(each): each for each in printed} | {chr(256 + n): each for n, each in enumerate(others)}

    def spell(letters: str) -> bytes:
        if all(letter in byte for letter in letters):
            return bytes(byte[letter] for letter in letters)
        return letters.encode()  # a token that was added: as it stands

    return spell


def _falling_back(mark: str, meant: str) -> Callable[[str], bytes]:
    """A token is text with a mark for blanks, or one byte (Kudo and Richardson, SentencePiece, arXiv:1808.06226)."""

    def spell(letters: str) -> bytes:
        found = _FALLBACK.fullmatch(letters)
        return bytes([int(found[1], 16)]) if found else letters.replace(mark, meant).encode()

    return spell
