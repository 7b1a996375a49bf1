"""How deep a JSON document may nest that anybody is to read, and how many lists and objects one may hold that was sent.

Whatever writes JSON here gives up a little beyond the depth, so a document is held against it where it is made, and
again where one that came by another way is shown. Lists and objects cost far more to read than their bytes tell: ten
million empty ones hold a process up for seconds, so a stranger's are counted before they are read.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

MOST_NESTED = 200
"""Levels of lists and objects."""
MOST_INNER = 500_000
"""Lists and objects in all."""

# To its closing quote, or the end where that is missing: so no text is looked through twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def is_wide(document: bytes) -> bool:
    """Whether a document, be it JSON or not, holds more lists and objects than one may that was sent."""
    return _inner(document) > MOST_INNER and _inner(_STRING.sub(b"", document)) > MOST_INNER


def is_deep(document: bytes, value: Any = None) -> bool:
    """Whether a JSON document nests deeper than it may.

    Args:
        document: its bytes, which are known to be JSON.
        value: what they say, where that is known already.
    """
    # Each level has a bracket of its own: few documents have so many that their depth is to be measured.
    if _inner(document) <= MOST_NESTED:
        return False
    if value is None:
        try:
            value = msgspec.json.decode(document)
        except RecursionError:
            return True
    level = [value]
    for _ in range(MOST_NESTED):
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, list | dict)
        ]
    return bool(level)


def _inner(document: bytes) -> int:
    return document.count(b"[") + document.count(b"{")
