"""From bytes to text, although what says how they are written may lie.

Order of belief: a byte order mark, then UTF-8 where the bytes prove it (text in another charset is almost never
multibyte UTF-8 by chance), then what was declared, then a guess from the bytes themselves.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_GUESSED = 65536
_ENOUGH = 16
"""Bytes beyond ASCII that a guess needs; with fewer, the commonest of the old charsets is the likeliest."""


class Decoded(NamedTuple):
    """A text, how its bytes were read, and whether that is what was declared first."""

    text: str
    charset: str
    as_declared: bool


def decode(data: bytes, declared: Iterable[str | None] = ()) -> Decoded:
    """Return the text of `data`.

    Args:
        data: bytes of text.
        declared: names of charsets, the most trusted first; unknown ones and None are passed over.
    """
    named = [name for name in declared if name]
    codecs_named = [codec for codec in map(_codec, named) if codec]
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return Decoded(data[len(mark) :].decode(charset, "replace"), charset, True)
    utf8 = data.decode("utf-8", "replace")
    if _is_meant(utf8):
        return Decoded(utf8, "utf-8", not named or _codec(named[0]) == "utf-8")
    for charset in [*codecs_named, "utf-8"]:
        try:
            return Decoded(data.decode(charset), charset, not named or _codec(named[0]) == charset)
        except UnicodeError:
            continue
    charset = _guess(data[:_GUESSED])
    return Decoded(data.decode(charset, "replace"), charset, False)


def _is_meant(utf8: str) -> bool:
    """Whether a text that was read as UTF-8 goes beyond ASCII, and less than a third of what does is damaged."""
    beyond_ascii = len(utf8) - len(utf8.encode("ascii", "ignore"))
    return beyond_ascii > 3 * utf8.count("\N{REPLACEMENT CHARACTER}")


def _guess(data: bytes) -> str:
    beyond_ascii = len(data) - len(data.decode("ascii", "ignore"))
    if beyond_ascii < _ENOUGH:
        return "cp1252"
    # Its tables cost 30 ms and some megabytes, and few texts need them.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    # Without a mark nobody means UTF-16 or UTF-32, and they fit anything.
    guess = from_bytes(data, cp_exclusion=["utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_7"]).best()
    return guess.encoding if guess else "cp1252"


def _codec(name: str) -> str | None:
    """Return the codec behind a charset's name as browsers read it (WHATWG Encoding), or None."""
    try:
        codec = codecs.lookup(name.strip().strip("\"'"))
    except (LookupError, ValueError):
        return None
    if not codec._is_text_encoding:  # noqa: SLF001 - `base64` and the like are codecs too, and no other flag says so
        return None
    return {"iso8859-1": "cp1252", "ascii": "cp1252", "utf-16": "utf-16-le"}.get(codec.name, codec.name)
