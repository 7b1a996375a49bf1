"""Pure: tokens to text as they come, only whole UTF-8, ending before the first stop string.

A character that is split over tokens comes with its last one. What may be the beginning of a stop string is held back
until it is known. What is emitted depends on the tokens alone and not on how they were grouped, so whoever replays the
tokens of an answer goes on with its text where it stood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers.decoders import DecodeStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer


class TextStream:
    """The text of one answer."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        self.stopped = False
        """Whether a stop string was found; what follows it is dropped."""
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._undecoded: list[int] = []
        self._stops = tuple(stops)
        self._held = ""

    def push(self, token: int) -> str:
        """Take the next token; return the text that is certain now."""
        if self.stopped:
            return ""
        self._undecoded.append(token)
        text: str | None = self._decoder.step(self._tokenizer, token)
        if text is None:
            return ""
        self._undecoded.clear()
        return self._release(text)

    def finish(self) -> str:
        """Return what was held back; the answer ends here, with U+FFFD for a character that was never completed."""
        if self.stopped:
            return ""
        tail = self._tokenizer.decode(self._undecoded, skip_special_tokens=True) if self._undecoded else ""
        self._undecoded.clear()
        text = self._release(tail)
        if not self.stopped:
            text, self._held = text + self._held, ""
        return text

    def _release(self, text: str) -> str:
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
