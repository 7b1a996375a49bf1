"""What lies in a winmail.dat: the text that Outlook hid in it and the files that it took along ([MS-OXTNEF]).

A reader of its own, and not `tnefparse`: that believes the counts that the file states, so that thirty bytes which state
four thousand million values take all time and memory there is. Here every step moves on in the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.charset import decode
from streams.mail.bounds import MAX_ATTACHMENTS, MAX_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = struct.pack("<I", 0x223E9F78)

_BODY, _CODE_PAGE, _PROPERTIES = 0x800C, 0x9007, 0x9003
_NEW_FILE, _FILE_NAME, _FILE_DATA, _FILE_PROPERTIES = 0x9002, 0x8010, 0x800F, 0x9005
_P_BODY, _P_HTML, _P_RTF, _P_CODE_PAGE = 0x1000, 0x1013, 0x1009, 0x3FDE
_P_LONG_NAME, _P_NAME, _P_DISPLAY_NAME, _P_DATA, _P_TYPE = 0x3707, 0x3704, 0x3001, 0x3701, 0x370E
_FIXED = {0x0002: 4, 0x0003: 4, 0x0004: 4, 0x0005: 8, 0x0006: 8, 0x0007: 8, 0x000A: 4, 0x000B: 4, 0x0014: 8}
_FIXED |= {0x0040: 8, 0x0048: 16, 0x0001: 0}
_ANSI, _UNICODE, _OBJECT, _BINARY = 0x001E, 0x001F, 0x000D, 0x0102
_NOTHING = (_ANSI, memoryview(b""))
_MANY, _NAMED = 0x1000, 0x8000
_MOST_ATTRIBUTES = 5000
_MOST_PROPERTIES = 5000


@dataclass(slots=True)
class Held:
    """A file in a winmail.dat."""

    name: str = ""
    type: str = ""
    size: int = 0


@dataclass(slots=True)
class Winmail:
    """What a winmail.dat holds.

    Attributes:
        rtf: its compressed RTF (`streams.mail.rtf`).
        complete: it was read to its end; else it is damaged or holds more than is read.
    """

    text: str = ""
    html: str = ""
    rtf: bytes = b""
    files: list[Held] = field(default_factory=list)
    complete: bool = True


def read(data: bytes) -> Winmail:
    """Return what a winmail.dat holds, as far as it can be read."""
    found = Winmail()
    charset: str | None = None
    at, steps = len(SIGNATURE) + 2, 0
    while at + 9 <= len(data):
        steps += 1
        _, attribute, _, length = struct.unpack_from("<BHHI", data, at)
        start, end = at + 9, at + 9 + length
        if steps > _MOST_ATTRIBUTES or end > len(data):
            found.complete = False
            end = len(data)
        value = memoryview(data)[start:end]
        if attribute == _CODE_PAGE and length >= 4:
            charset = _charset(struct.unpack_from("<I", value)[0])
        elif attribute == _BODY:
            found.text = found.text or _text(value, charset)
        elif attribute == _PROPERTIES:
            _take_message(found, value, charset)
        elif attribute == _NEW_FILE and len(found.files) < MAX_ATTACHMENTS:
            found.files.append(Held())
        elif found.files and attribute in {_FILE_NAME, _FILE_DATA, _FILE_PROPERTIES}:
            _take_file(found, attribute, value, charset)
        if not found.complete:
            break
        at = end + 2  # a checksum; one that is wrong changes nothing
    return found


def _take_message(found: Winmail, value: memoryview, charset: str | None) -> None:
    said = _said(value, found)
    if _P_CODE_PAGE in said and len(said[_P_CODE_PAGE][1]) >= 4:
        charset = _charset(struct.unpack_from("<I", said[_P_CODE_PAGE][1])[0]) or charset
    found.text = _told(said, _P_BODY, charset) or found.text
    found.html = _told(said, _P_HTML, charset) or found.html
    if _P_RTF in said:
        found.rtf = bytes(said[_P_RTF][1][:MAX_SOURCE])


def _take_file(found: Winmail, attribute: int, value: memoryview, charset: str | None) -> None:
    file = found.files[-1]
    if attribute == _FILE_NAME:
        file.name = file.name or _text(value, charset)
    elif attribute == _FILE_DATA:
        file.size = len(value)
    else:
        said = _said(value, found)
        file.type = _told(said, _P_TYPE, charset) or file.type
        file.size = file.size or len(said.get(_P_DATA, _NOTHING)[1])
        names = (_told(said, name, charset) for name in (_P_NAME, _P_DISPLAY_NAME))
        file.name = _told(said, _P_LONG_NAME, charset) or file.name or next(filter(None, names), "")


def _said(value: memoryview, found: Winmail) -> dict[int, tuple[int, memoryview]]:
    """Return the kind and the first value of each property."""
    said: dict[int, tuple[int, memoryview]] = {}
    for name, kind, data in _properties(value, found):
        said.setdefault(name, (kind, data))
    return said


def _told(said: dict[int, tuple[int, memoryview]], name: int, charset: str | None) -> str:
    """Return a property's text, or nothing where there is none."""
    kind, data = said.get(name, _NOTHING)
    return _text(data, "utf-16-le" if kind == _UNICODE else charset)


def _properties(value: memoryview, found: Winmail) -> Iterator[tuple[int, int, memoryview]]:
    """Give the properties of a message or a file: each one's name, kind and first value."""
    try:
        (count,) = struct.unpack_from("<I", value)
        at = 4
        found.complete = found.complete and count <= _MOST_PROPERTIES
        for _ in range(min(count, _MOST_PROPERTIES)):
            kind, name = struct.unpack_from("<HH", value, at)
            at += 4
            if name & _NAMED:
                at = _after_name(value, at)
            data, at = _value(value, at, kind)
            yield name, kind & ~_MANY, data
    except (struct.error, ValueError):
        found.complete = False


def _after_name(value: memoryview, at: int) -> int:
    """Return what follows a property's own name: a GUID and a number, or a text."""
    (by_text,) = struct.unpack_from("<I", value, at + 16)
    if not by_text:
        return at + 24
    (length,) = struct.unpack_from("<I", value, at + 20)
    return at + 24 + _padded(length)


def _value(value: memoryview, at: int, kind: int) -> tuple[memoryview, int]:
    """Return a property's first value, and what follows all of them."""
    plain, first = kind & ~_MANY, memoryview(b"")
    fixed = _FIXED.get(plain)
    counted = kind & _MANY or fixed is None
    count = struct.unpack_from("<I", value, at)[0] if counted else 1
    at += 4 * bool(counted)
    if fixed is None and plain not in {_ANSI, _UNICODE, _OBJECT, _BINARY}:
        raise ValueError("a property of no known kind")
    if fixed is not None:
        if at + count * fixed > len(value):
            raise ValueError("a property beyond the end")
        return value[at : at + fixed], at + _padded(count * fixed)
    for step in range(count):
        (length,) = struct.unpack_from("<I", value, at)
        if at + 4 + length > len(value):
            raise ValueError("a property beyond the end")
        first = value[at + 4 : at + 4 + length] if step == 0 else first
        at += 4 + _padded(length)
    return first, at


def _padded(length: int) -> int:
    return length + -length % 4


def _charset(code_page: int) -> str | None:
    return {65001: "utf-8", 20127: "ascii", 20866: "koi8-r", 20932: "euc-jp", 50220: "iso-2022-jp"}.get(
        code_page, f"iso8859-{code_page - 28590}" if 28591 <= code_page <= 28605 else f"cp{code_page}"
    )


def _text(value: memoryview, charset: str | None) -> str:
    data = bytes(value[: 2 * MAX_SOURCE])
    if charset == "utf-16-le":
        return data.decode("utf-16-le", "replace").rstrip("\0")
    return decode(data.rstrip(b"\0"), [charset], guess=False).text
