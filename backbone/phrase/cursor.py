"""The tokens of a text, one after the other: what stands next, whether it is what was expected, and lists of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbone.phrase.said import Said
from backbone.phrase.words import ELSEWHERE, EXAMPLES, NUMBER, Token, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.errors import PhraseError

END = Token("end", "the end")


class Cursor:
    """A place in a text, and what was said up to there."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._said = Said()

    @property
    def _peek(self) -> Token:
        return self._ahead(0)

    @property
    def _previous(self) -> str:
        return self._tokens[self._at - 1].text

    def _ahead(self, count: int) -> Token:
        place = self._at + count
        return self._tokens[place] if place < len(self._tokens) else END

    def _take(self) -> Token:
        token = self._peek
        self._at += 1
        return token

    def _maybe(self, *words: str) -> str | None:
        return self._take().text if self._peek.text in words and self._peek.kind != "number" else None

    def _expect(self, *words: str) -> str:
        found = self._maybe(*words)
        if found is None:
            raise self._unexpected(" or ".join(f"`{word}`" for word in words))
        return found

    def _unexpected(self, expected: str) -> PhraseError:
        if (hint := ELSEWHERE.get(self._peek.text)) is not None:
            return refused(f"`{self._peek.text}`: {hint}")
        return refused(f"found `{self._peek.text}`, expected {expected}; say for example {EXAMPLES}")

    def _put(self, name: str, value: object, told: str) -> None:
        if getattr(self._said, name):
            raise refused(f"it says twice {told}: say it once")
        setattr(self._said, name, value)

    def _several(self, one: Callable[[], int], begins: Callable[[], bool]) -> list[int]:
        """Read one or more, with commas or `and` between them."""
        found = [one()]
        while self._peek.text in {",", "&", "and"}:
            mark = self._at
            while self._maybe(",", "&", "and"):
                pass
            if not begins():
                self._at = mark
                break
            found.append(one())
        return found

    def _number(self) -> int:
        token = self._take()
        if token.kind == "number" and len(token.text) <= 9:
            return int(token.text)
        if token.text in NUMBER:
            return NUMBER[token.text]
        self._at -= 1
        raise self._unexpected("a number")
