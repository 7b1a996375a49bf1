"""From a header's bytes to one clean line of text: raw 8-bit, encoded words (RFC 2047), UTF-8 headers (RFC 6532).

Encoded words are read as senders write them, not as the RFC wants them: inside quotes, without spaces between, with
spaces within, and with a character cut between two of them. What they decode to can't bring a line or a control of its
own, so that no header is injected.
"""

from __future__ import annotations

import binascii
import re
from itertools import groupby
from typing import TYPE_CHECKING

from streams.charset import decode
from streams.mail.bounds import MAX_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.mail.bounds import Findings

_WORD = re.compile(r"=\?([^?\s]{1,60}+)\?([bq])\?([^?]{0,2000}+)\?=", re.IGNORECASE)
_Q_BYTE = re.compile(rb"=([0-9A-Fa-f]{2})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff]")
_LONE = re.compile("[\ud800-\udfff]")


def line(text: str, findings: Findings, where: str) -> str:
    """Return a text as one line without controls, and without what turns or hides its letters."""
    text = _LONE.sub("\N{REPLACEMENT CHARACTER}", text)
    if _CONTROLS.search(text.strip().replace("\t", " ")):
        findings.mend(f"{where}: control characters")
    if _TURNS.search(text):
        findings.suspect(f"{where}: turns the direction of writing")
        text = _TURNS.sub("", text)
    return " ".join(_UNSEEN.sub("", _CONTROLS.sub(" ", text)).split())


def text_of(value: bytes, findings: Findings, where: str, charset: str | None = None) -> str:
    """Return what a header says, at most `MAX_HEADER` characters of it.

    Args:
        value: its unfolded bytes.
        findings: takes what had to be mended.
        where: how to name it there.
        charset: that of the text below the header.
    """
    if len(value) > MAX_HEADER:
        findings.mend(f"{where}: cut to {MAX_HEADER} characters")
        value = value[:MAX_HEADER]
    raw = raw_text(value, findings, where, charset)
    return line(decoded_words(raw, findings, where), findings, where)[:MAX_HEADER]


def raw_text(value: bytes, findings: Findings, where: str, charset: str | None = None) -> str:
    """Return a header's bytes as text; beyond ASCII they are almost always UTF-8, else what the text below it is."""
    if value.isascii():
        return value.decode("ascii")
    findings.mend(f"{where}: unencoded eight-bit text")
    said = decode(value, [charset], guess=False)
    # UTF-16 reads any bytes as letters; a header that it was meant for would not have been found.
    return (decode(value, guess=False) if said.charset.startswith(("utf-16", "utf-32")) else said).text


def decoded_words(text: str, findings: Findings, where: str) -> str:
    """Return a text with its encoded words decoded."""
    if "=?" not in text:
        return text
    said = []
    for charset, pieces in groupby(_pieces(text), key=lambda piece: piece[0]):
        if charset is None:
            said += [plain for _, plain, _ in pieces]
            continue
        # Neighbours of one charset are decoded together, since many senders cut characters.
        decoded = decode(b"".join(data for *_, data in pieces), [charset], guess=False)
        if not decoded.as_declared:
            findings.mend(f"{where}: charset read as {decoded.charset}")
        said.append(decoded.text)
    return "".join(said)


def _pieces(text: str) -> Iterator[tuple[str | None, str, bytes]]:
    """Give the plain stretches of a text and the bytes of its encoded words, each with its charset."""
    at = 0
    for word in _WORD.finditer(text):
        between = text[at : word.start()]
        # White space between two encoded words is no part of what they say (RFC 2047, section 6.2).
        if between and (at == 0 or not between.isspace()):
            yield None, between, b""
        charset, encoding, data = word.groups()
        read = _base64 if encoding in "bB" else _quoted
        yield charset.partition("*")[0].lower(), "", read(data.encode("utf-8", "replace"))
        at = word.end()
    if at < len(text):
        yield None, text[at:], b""


def _base64(data: bytes) -> bytes:
    data = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    data = data[: len(data) - (len(data) % 4 == 1)]
    return binascii.a2b_base64(data + b"=" * (-len(data) % 4))


def _quoted(data: bytes) -> bytes:
    return _Q_BYTE.sub(lambda byte: bytes.fromhex(byte[1].decode("ascii")), data.replace(b"_", b" "))
