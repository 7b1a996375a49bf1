"""From a part's body to its bytes: base64, quoted-printable and uuencode as they arrive, not as they should be.

Base64 that lost its end, its padding or its line breaks is read as far as it goes; what is only said to be base64, or
was put below it, is left as it stands.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.mail.bounds import Findings
    from streams.mail.fields import Head

BASE64 = "base64"
QUOTED = "quoted-printable"
UUENCODE = "uuencode"
IDENTITY = ""

_NAMES = {
    "": IDENTITY,
    "7bit": IDENTITY,
    "8bit": IDENTITY,
    "binary": IDENTITY,
    "base64": BASE64,
    "quoted-printable": QUOTED,
    "uuencode": UUENCODE,
    "uue": UUENCODE,
    "x-uuencode": UUENCODE,
    "x-uue": UUENCODE,
}
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NO_LETTERS = bytes(set(range(256)) - set(_LETTERS))
_WHOLE_LINES = re.compile(
    rb"\s*+(?:[A-Za-z0-9+/]{40,}+={0,2}+[ \t]*+\n)++(?:(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2,3}+={1,2}+)?+\n)?+"
)
_ENDS = re.compile(rb"=+")
_MOST_PIECES = 100
"""Pieces of base64 that were padded by themselves and put one after another."""
_LOOKED_AT = 2000
_LINE = re.compile(rb"[^\n]+")
UUENCODED = re.compile(rb"^begin [0-7]{3,4} ([^\n]{1,200}+)\n((?:[ -`]{1,100}\n)*+)(?:end\b[^\n]*+)?", re.MULTILINE)


def encoding_of(head: Head) -> str:
    """Return how a part's body is encoded; an unknown way is none."""
    return _NAMES.get(_said(head), IDENTITY)


def note_unknown(head: Head, findings: Findings) -> None:
    """Note an encoding that nobody knows."""
    if _said(head) not in _NAMES:
        findings.mend("transfer encoding: unknown")


def _said(head: Head) -> str:
    value = head.first("content-transfer-encoding").partition(b";")[0].partition(b"(")[0]
    return value.strip(b" \t\"'.").decode("ascii", "replace").lower()


def decoded(body: bytes, encoding: str, findings: Findings, *, most: int | None = None) -> bytes:
    """Return the bytes that a body stands for.

    Args:
        body: what stands in the mail.
        encoding: `BASE64`, `QUOTED`, `UUENCODE` or `IDENTITY`.
        findings: takes what had to be mended, and says how much may still be unwrapped.
        most: bytes beyond which nothing is asked for.
    """
    cut = most is not None and len(body) > 4 * most
    if most is not None and cut:
        body = body[: 4 * most]
    if len(body) > findings.unwrapped:
        findings.mend("encoded parts: not all were read")
        body = body[: max(0, findings.unwrapped)]
        cut = True
    findings.unwrapped -= len(body)
    if encoding == BASE64:
        return _base64(body, findings, cut=cut)
    if encoding == QUOTED:
        return binascii.a2b_qp(body)
    if encoding == UUENCODE and (found := UUENCODED.search(body)):
        return uudecoded(found[2])
    return body


def _base64(body: bytes, findings: Findings, *, cut: bool) -> bytes:
    whole = _WHOLE_LINES.match(body)
    if whole and (rest := body[whole.end() :].strip()) and not _seems_base64(rest):
        # Mailing lists put their plain lines below whatever they pass on.
        findings.mend("plain text after base64")
        return _base64(whole[0], findings, cut=False) + b"\n\n" + rest
    if not _seems_base64(body):
        findings.mend("transfer encoding: said to be base64, and is not")
        return body
    if _odd(body[:_LOOKED_AT]):
        findings.mend("invalid base64 characters")
    pieces = []
    for piece in _ENDS.split(body, _MOST_PIECES)[:_MOST_PIECES]:
        data = piece.translate(None, _NO_LETTERS)
        if data:
            data = data[: len(data) - (len(data) % 4 == 1)]
            pieces.append(binascii.a2b_base64(data + b"=" * (-len(data) % 4)))
    letters = len(body.translate(None, _NO_LETTERS))
    if not cut and (letters + body.count(b"=")) % 4:
        findings.mend("invalid base64 padding")
    return b"".join(pieces)


def _seems_base64(body: bytes) -> bool:
    sample = body[:_LOOKED_AT]
    spaces = sum(line.strip().count(b" ") for line in sample.splitlines())
    return _odd(sample) + spaces <= len(sample) // 20


def _odd(sample: bytes) -> int:
    """Return how many bytes are neither base64 nor white space."""
    return len(sample.translate(None, _LETTERS + b"=\r\n\t "))


def uudecoded(lines: bytes) -> bytes:
    """Return the bytes of uuencoded lines as far as they can be read, at most as many as the lines have."""
    read = bytearray()
    for found in _LINE.finditer(lines):
        line = found[0]
        if len(read) >= len(lines):
            break  # each line may say that it holds more than it does, as one does that lost its trailing spaces
        try:
            read += binascii.a2b_uu(line)
        except binascii.Error:
            # Some encoders give a line more than its length says (as CPython's `uu` did for years).
            length = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                read += binascii.a2b_uu(line[:length])
            except binascii.Error:
                continue
    return bytes(read[: len(lines)])


def size_of(body: bytes, encoding: str) -> int:
    """Return how many bytes a body stands for, by count."""
    if encoding == BASE64:
        return len(body.translate(None, b"\r\n\t =")) * 3 // 4
    if encoding == QUOTED:
        return len(binascii.a2b_qp(body))
    if encoding == UUENCODE:
        return len(body) * 45 // 62
    return len(body)
