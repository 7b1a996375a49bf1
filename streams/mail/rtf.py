"""Outlook's compressed RTF as text, or as the HTML that it wraps ([MS-OXRTFCP], [MS-OXRTFEX]).

The decompression is LZ77 over a prepared dictionary of 4096 bytes, and at most seventeen bytes come of one token, so
what it makes is bounded by what it is given.
"""

from __future__ import annotations

import re
import struct

from streams.charset import decode
from streams.mail.bounds import MAX_SOURCE

_PREPARED = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbol"
    rb"ArialTimes New RomanCourier{\colortbl\red0\green0\blue0" + b"\r\n" + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_RING = 4096
_COMPRESSED = b"LZFu"
_PLAIN = b"MELA"
_TOKEN = re.compile(
    rb"\\([a-z]{1,32}+)(-?\d{1,10}+)? ?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|[\r\n]+|([^\\{}\r\n]++)|\\", re.DOTALL
)
_UNREAD = frozenset(
    {
        b"fonttbl",
        b"colortbl",
        b"stylesheet",
        b"info",
        b"pict",
        b"object",
        b"header",
        b"footer",
        b"themedata",
        b"listtable",
    }
)
_SAYS = {
    b"par": "\n",
    b"line": "\n",
    b"tab": "\t",
    b"cell": "\t",
    b"row": "\n",
    b"emdash": "\u2014",
    b"endash": "\u2013",
}
_SAYS |= {b"lquote": "\u2018", b"rquote": "\u2019", b"ldblquote": "\u201c", b"rdblquote": "\u201d", b"bullet": "\u2022"}


def decompressed(data: bytes, most: int = MAX_SOURCE) -> bytes:
    """Return RTF that was compressed, at most `most` bytes of it and as far as it can be read."""
    if len(data) < 16:
        return b""
    _, size, kind, _ = struct.unpack_from("<II4sI", data)
    most = min(size, most)
    if kind == _PLAIN:
        return data[16 : 16 + most]
    if kind != _COMPRESSED:
        return b""
    ring = bytearray(_PREPARED.ljust(_RING, b"\0"))
    write, at, said = len(_PREPARED), 16, bytearray()
    while at < len(data) and len(said) < most:
        control = data[at]
        at += 1
        for bit in range(8):
            if at >= len(data) or len(said) >= most:
                break
            if not control >> bit & 1:
                ring[write] = data[at]
                said.append(data[at])
                write, at = (write + 1) % _RING, at + 1
                continue
            reference = int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
            at += 2
            offset, length = reference >> 4, (reference & 15) + 2
            if offset == write:
                return bytes(said)
            for step in range(length):  # it may read what it has just written
                byte = ring[(offset + step) % _RING]
                ring[write] = byte
                said.append(byte)
                write = (write + 1) % _RING
    return bytes(said[:most])


def text_of(source: bytes) -> str:
    """Return what RTF says, without its fonts, pictures and markup, and without the tags of HTML that it may wrap."""
    reader = _Reader()
    for token in _TOKEN.finditer(source):
        word, number, escaped, symbol, brace, text = token.groups()
        if brace:
            reader.group(opens=brace == b"{")
        elif word:
            reader.word(word, number)
        elif symbol:
            reader.symbol(symbol)
        elif escaped:
            reader.letters(bytes.fromhex(escaped.decode("ascii")))
        elif text:
            reader.letters(text)
    joined = reader.said().encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() for line in joined.split("\n"))).strip()


class _Reader:
    """What RTF has said so far, and how what follows is to be read."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._waiting = bytearray()
        """Bytes of the document's code page, of which the last may want the rest of their character."""
        self._charset = "cp1252"
        self._skipped = [False]
        self._in_html = False
        """Within what stands for the HTML that was wrapped; all but its line breaks is left out."""
        self._fallback = 0
        """Bytes for readers without Unicode, which follow a character that was read."""

    def said(self) -> str:
        """Return the text."""
        self._flush()
        return "".join(self._said)

    def group(self, *, opens: bool) -> None:
        """Open or close a group."""
        if opens:
            self._skipped.append(self._skipped[-1])
        elif len(self._skipped) > 1:
            self._skipped.pop()

    def word(self, word: bytes, number: bytes | None) -> None:
        """Follow a control word."""
        if word in _UNREAD:
            self._skipped[-1] = True
        elif word == b"ansicpg" and number:
            self._charset = f"cp{int(number)}"
        elif word == b"htmlrtf":
            self._in_html = number != b"0"
        elif word in _SAYS and not self._skipped[-1] and (not self._in_html or _SAYS[word] == "\n"):
            self._flush()
            self._said.append(_SAYS[word])
        elif word == b"u" and number and self._is_read():
            self._flush()
            self._said.append(chr(int(number) % 0x10000))
            self._fallback = 1

    def symbol(self, symbol: bytes) -> None:
        """Follow a control symbol."""
        if symbol == b"*":
            self._skipped[-1] = True
        elif symbol in {b"\\", b"{", b"}", b"~"}:
            self.letters(b" " if symbol == b"~" else symbol)

    def letters(self, piece: bytes) -> None:
        """Take text."""
        if self._is_read():
            dropped = min(self._fallback, len(piece))
            self._fallback -= dropped
            self._waiting += piece[dropped:]

    def _is_read(self) -> bool:
        return not self._skipped[-1] and not self._in_html

    def _flush(self) -> None:
        if self._waiting:
            self._said.append(decode(bytes(self._waiting), [self._charset], guess=False).text)
            self._waiting.clear()
