"""From bytes to text, although what says how they are written may lie.

Order of belief: a byte order mark, then UTF-8 where the bytes prove it (text in another charset is almost never
multibyte UTF-8 by chance), then what was declared, then a guess from the bytes themselves.
"""

from __future__ import annotations

import codecs
import encodings
import pkgutil
from encodings.aliases import aliases
from functools import lru_cache
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
_LIKELY = [
    "cp1250",
    "cp1251",
    "cp1252",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp1258",
    "cp866",
    "cp874",
    "koi8_r",
    "koi8_u",
    "iso8859_2",
    "iso8859_5",
    "iso8859_7",
    "cp932",
    "euc_jp",
    "gb18030",
    "big5",
    "cp949",
]
"""What texts without a name of their charset are written in; any other would only take a likely one's place."""
_ASCII = bytes(range(0x20, 0x7F)).replace(b"\\", b"") + rb" \u0041 +AEE- ~{VP~} .xn--p1ai. -"
"""What every charset that a text may be in reads as ASCII, and escapes, UTF-7, HZ, IDNA and EBCDIC do not."""

# What is labelled as the one is often its superset (WHATWG Encoding, section 4.2).
_READ_AS = {
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso2022_jp": "iso2022_jp_ext",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
    "tis-620": "cp874",
    "utf-16": "utf-16-le",
    "utf-32": "utf-32-le",
}
# Names that pages and mails use, and Python does not know.
_KNOWN_AS = {
    "iso-8859-6-i": "iso8859-6",
    "iso-8859-8-i": "iso8859-8",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "windows-949": "cp949",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gb18030",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-sjis": "cp932",
}
# Python looks on disk for what it does not know, and remembers for ever that it was not there.
_PYTHONS = frozenset(aliases) | frozenset(module.name for module in pkgutil.iter_modules(encodings.__path__))
_WIDE = frozenset({"utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"})


class Decoded(NamedTuple):
    """A text, how its bytes were read, and whether that is what was declared first."""

    text: str
    charset: str
    as_declared: bool


def decode(data: bytes, declared: Iterable[str | None] = (), *, guess: bool = True) -> Decoded:
    """Return the text of `data`.

    Args:
        data: bytes of text.
        declared: names of charsets, the most trusted first; unknown ones and None are passed over.
        guess: where nothing else fits, ask the bytes at length (tens of milliseconds); else take the commonest charset.
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
    for charset in codecs_named:  # a damaged or cut text is still what it was said to be
        text = data.decode(charset, "replace")
        if _is_meant(text):
            return Decoded(text, charset, _codec(named[0]) == charset)
    charset = _guess(data[:_GUESSED]) if guess else "cp1252"
    return Decoded(data.decode(charset, "replace"), charset, False)


def _is_meant(text: str) -> bool:
    """Whether a text that was read with replacements goes beyond ASCII, and less than a third of what does is damaged."""
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return beyond_ascii > 3 * text.count("\N{REPLACEMENT CHARACTER}")


def _guess(data: bytes) -> str:
    beyond_ascii = len(data) - len(data.decode("ascii", "ignore"))
    if beyond_ascii < _ENOUGH:
        return "cp1252"
    # Its tables cost 30 ms and some megabytes, and few texts need them.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    guesses = from_bytes(data, cp_isolation=_LIKELY)
    guess = guesses.best()
    commonest = next((one for one in guesses if one.encoding == "cp1252"), None)
    if guess is None or (commonest and commonest.coherence >= guess.coherence):
        return "cp1252"
    return guess.encoding


@lru_cache(1024)
def _codec(name: str) -> str | None:
    """Return the codec behind a charset's name as browsers read it (WHATWG Encoding), or None.

    Of Python's codecs only charsets that hold ASCII as it stands are taken: others hide markup from whoever looks at the
    bytes, and some (punycode, idna) take for ever or raise what they should not.
    """
    name = name.strip().strip("\"'").lower()
    if encodings.normalize_encoding(name).replace(".", "_") not in _PYTHONS and name not in _KNOWN_AS:
        return None
    try:
        codec = codecs.lookup(_KNOWN_AS.get(name, name))
        if not codec._is_text_encoding:  # noqa: SLF001 - `base64` and the like are codecs too; no other flag says so
            return None
        charset = _READ_AS.get(codec.name, codec.name)
        if charset in _WIDE or _ASCII.decode(charset) == _ASCII.decode("ascii"):
            return charset
    except (LookupError, ValueError):
        pass
    return None
