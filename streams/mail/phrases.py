"""Finds the phrases of `data/phrases.toml` in a mail: what says in many languages which label is meant."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def phrases(kind: str) -> dict[str, tuple[str, ...]]:
    """Return the phrases of each label of a kind: `category`, `urgency` or `spam`."""
    table = tomllib.loads((files("streams.mail") / "data" / "phrases.toml").read_text("utf-8"))
    return {label: tuple(some) for label, some in table[kind].items()}


def found(text: str, some: Iterable[str]) -> list[str]:
    """Return which phrases stand in a text, which is in lower case."""
    return [phrase.removesuffix("$") for phrase in some if _stands(text, phrase)]


def _stands(text: str, phrase: str) -> bool:
    bare, whole = phrase.removesuffix("$"), phrase.endswith("$")
    # Only scripts with capitals put spaces between words.
    begins = bare[0].lower() != bare[0].upper()
    start = text.find(bare)
    while start >= 0:
        end = start + len(bare)
        inside = begins and start > 0 and text[start - 1].isalnum()
        if not inside and (not whole or end == len(text) or not text[end].isalnum()):
            return True
        start = text.find(bare, end)
    return False
