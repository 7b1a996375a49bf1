"""How deep a JSON document may nest that anybody is to read.

Whatever writes JSON here gives up a little beyond the bound, so a document is held against it where it is made, and
again where one that came by another way is shown.
"""

from __future__ import annotations

from typing import Any

import msgspec

MOST_NESTED = 200
"""Levels of lists and objects."""


def is_deep(document: bytes, value: Any = None) -> bool:
    """Whether a JSON document nests deeper than it may.

    Args:
        document: its bytes, which are known to be JSON.
        value: what they say, where that is known already.
    """
    # Each level has a bracket of its own: few documents have so many that their depth is to be measured.
    if document.count(b"[") + document.count(b"{") <= MOST_NESTED:
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
