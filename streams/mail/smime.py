"""The content of an opaque S/MIME signature: the mail's part within the CMS around it (RFC 5652, RFC 8551).

Nothing is verified and no certificate is looked at. Outlook and OpenSSL stream such content, so lengths may be
indefinite and the octets in pieces (BER); the walk goes down one fixed path and reads each byte once.
"""

from __future__ import annotations

from typing import NamedTuple

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_ENVELOPED = (bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d0109100117"))
_OID, _OCTETS, _SEQUENCE, _EXPLICIT = 0x06, 0x04, 0x30, 0xA0
_CONSTRUCTED = 0x20
_MOST_DEEP = 4
_MOST_ELEMENTS = 100_000
_SHORTEST = 16
"""Bytes that an element has on average, or more: who writes shorter ones wants to cost time."""
_FRAME = 100
"""Elements around the content, which may be as short as they are."""


class BrokenError(ValueError):
    """These bytes are no CMS."""


class Element(NamedTuple):
    """A BER element: its tag, where its content begins, and where that ends; None says at an end-of-contents mark."""

    tag: int
    start: int
    end: int | None


def is_enveloped(data: bytes) -> bool:
    """Whether a CMS holds what only its reader can open."""
    walk = _Walk(data)
    try:
        content_info = walk.element(0)
        oid = walk.element(content_info.start)
    except BrokenError:
        return False
    return data[oid.start : oid.end] in _ENVELOPED


def signed_content(data: bytes) -> bytes:
    """Return what a CMS signature signs.

    Raises:
        BrokenError: this is no signature, or it doesn't hold its content.
    """
    walk = _Walk(data)
    content_info = walk.expect(0, _SEQUENCE)
    oid = walk.expect(content_info.start, _OID)
    if data[oid.start : oid.end] != _SIGNED_DATA:
        raise BrokenError("no signed data")
    explicit = walk.expect(_end(oid), _EXPLICIT)
    signed = walk.expect(explicit.start, _SEQUENCE)
    version = walk.element(signed.start)
    digests = walk.element(_end(version))
    after_digests = digests.end if digests.end is not None else walk.skipped(digests.start, 1)
    content = walk.expect(after_digests, _SEQUENCE)
    content_type = walk.expect(content.start, _OID)
    holder = walk.expect(_end(content_type), _EXPLICIT)
    octets = walk.element(holder.start)
    if octets.tag & ~_CONSTRUCTED != _OCTETS:
        raise BrokenError("the signature holds no content")
    pieces: list[bytes] = []
    walk.gather(octets, pieces, 0)
    return b"".join(pieces)


def _end(element: Element) -> int:
    if element.end is None:
        raise BrokenError("a value of no definite length")
    return element.end


class _Walk:
    """The way through a CMS, of so many elements at most."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = min(_MOST_ELEMENTS, _FRAME + len(data) // _SHORTEST)

    def element(self, at: int) -> Element:
        """Return the element that begins at `at`; one that goes beyond the data ends with it."""
        data = self._data
        self._left -= 1
        if self._left < 0 or at + 2 > len(data):
            raise BrokenError("too many pieces" if self._left < 0 else "cut off")
        tag, length, start = data[at], data[at + 1], at + 2
        if length == 0x80:
            return Element(tag, start, None)
        if length > 0x80:
            size = length & 0x7F
            if size > 8 or start + size > len(data):
                raise BrokenError("an impossible length")
            length, start = int.from_bytes(data[start : start + size], "big"), start + size
        return Element(tag, start, min(start + length, len(data)))

    def expect(self, at: int, tag: int) -> Element:
        """Return the element that begins at `at`, which must have this tag."""
        element = self.element(at)
        if element.tag != tag:
            raise BrokenError("not the expected structure")
        return element

    def skipped(self, at: int, depth: int) -> int:
        """Return what follows the elements of an element of indefinite length."""
        while True:
            element = self.element(at)
            if element.tag == 0 and element.end == element.start:
                return element.start
            if element.end is None and depth == _MOST_DEEP:
                raise BrokenError("too deep")
            at = element.end if element.end is not None else self.skipped(element.start, depth + 1)

    def gather(self, octets: Element, pieces: list[bytes], depth: int) -> int:
        """Add the pieces of an octet string, and return where it ends."""
        if not octets.tag & _CONSTRUCTED:
            pieces.append(self._data[octets.start : octets.end])
            return _end(octets)
        at = octets.start
        while (octets.end is None or at < octets.end) and at + 2 <= len(self._data):
            piece = self.element(at)
            if piece.tag == 0:
                return piece.start
            if piece.tag & ~_CONSTRUCTED != _OCTETS or depth == _MOST_DEEP:
                raise BrokenError("not the expected structure")
            at = self.gather(piece, pieces, depth + 1)
        return at
