"""Pure: tokens to text as they come, only whole UTF-8, ending before the first stop string.

A character that is split over tokens comes with its last one. What may be the beginning of a stop string is held back
until it is known. What is emitted depends on the tokens alone and not on how they were grouped, so whoever replays the
tokens of an answer goes on with its text where it stood.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Protocol

from tokenizers.decoders import DecodeStream

from inference_worker.spelling import Spelling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer


class Decoding(Protocol):
    """The tokens of one answer, decoded as they come."""

    def push(self, token: int) -> str:
        """Take the next token; return the whole characters that came with it."""

    def finish(self) -> str:
        """Return U+FFFD for a character that was never completed."""


class Detokenizer:
    """Decodes with one tokenizer, for many answers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._spelling = Spelling.of(tokenizer)

    def begin(self) -> Decoding:
        """Begin an answer."""
        return _Bytes(self._spelling) if self._spelling is not None else _Pieces(self._tokenizer)


class _Bytes:
    """Tokens that spell bytes: many times as fast as asking the tokenizer, and right for bytes that are no text."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._dropped = spelling.drops

    def push(self, token: int) -> str:
        text = self._decoder.decode(self._spelling[token])
        if self._dropped and text:
            text, self._dropped = text.removeprefix(self._dropped), ""
        return text

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _Pieces:
    """Tokens whose text depends on those beside them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._undecoded: list[int] = []

    def push(self, token: int) -> str:
        self._undecoded.append(token)
        try:
            text: str | None = self._decoder.step(self._tokenizer, token)
        except Exception:  # noqa: BLE001 - what it raises: to it, what came before is other text with this token
            self._decoder = DecodeStream(skip_special_tokens=True)
            text = self._tokenizer.decode(self._undecoded, skip_special_tokens=True)
        if text is None:
            return ""
        self._undecoded.clear()
        return text

    def finish(self) -> str:
        return self._tokenizer.decode(self._undecoded, skip_special_tokens=True) if self._undecoded else ""


class TextStream:
    """The text of one answer."""

    def __init__(self, detokenizer: Detokenizer, stops: Sequence[str] = ()) -> None:
        self.stopped = False
        """Whether a stop string was found; what follows it is dropped."""
        self._decoding = detokenizer.begin()
        self._stops = tuple(stops)
        self._held = ""

    def push(self, token: int) -> str:
        """Take the next token; return the text that is certain now."""
        return "" if self.stopped else self._release(self._decoding.push(token))

    def finish(self) -> str:
        """Return what was held back; the answer ends here, with U+FFFD for a character that was never completed."""
        if self.stopped:
            return ""
        text = self._release(self._decoding.finish())
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _release(self, text: str) -> str:
        if not self._stops:
            return text
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Return how many of the text's last characters are the first of the stop string."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
