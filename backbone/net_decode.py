"""Undoing the compression of an answer in small steps, so that a bomb stops at the limit and not in memory.

Each decoder takes what came and yields pieces of a bounded size, one when it is asked for the next: whoever counts them
may stop at any of them. The window that a stream may ask for is bounded as well (RFC 9659 for zstd).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

import brotli
import zstandard

from backbone.errors import AnswerRefusedError, FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = "gzip, deflate, br, zstd"
"""The codings that are asked for, as in `Accept-Encoding`."""
MOST_CODINGS = 2
"""How many may lie one in the other; honest servers use one."""
MOST_PARTS = 1000
"""Members of gzip and frames of zstd in one answer: a kilobyte may stand for 200,000 empty ones, each to be begun anew."""
PIECE = 65536

_ZSTD_WINDOW = 8 * 1024 * 1024
_ZSTD_STEP = 32
"""Bytes that are given to zstd at once: 4 of them can stand for 128 KiB, and it hands out all that it has at once."""
_GZIP_MAGIC = b"\x1f\x8b"


class Decoder(Protocol):
    """Undoes one coding of one answer."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` stands for, in pieces of at most about a mebibyte.

        Raises:
            AnswerRefusedError: it is not what it claims to be.
        """

    def whole(self) -> bool:
        """Whether what was fed so far is a complete stream; nothing at all is one too."""


class Body:
    """Takes an answer's bytes as they come, and has the content.

    Args:
        encoding: the header `Content-Encoding` (RFC 9110, section 8.4).
        limit: bytes that may come, and that each coding may stand for.
        cut: whether what is longer ends at the limit and isn't refused.

    Raises:
        AnswerRefusedError: a coding was not asked for, or there are too many.
    """

    def __init__(self, encoding: str, limit: int, *, cut: bool = False) -> None:
        self._limit = limit
        self._cut = cut
        self._came = 0
        codings = [name.strip().lower() for name in encoding.split(",")]
        codings = [name for name in codings if name not in {"", "identity"}]
        if len(codings) > MOST_CODINGS:
            raise AnswerRefusedError(f"it is encoded {len(codings)} times over", field="url")
        self._decoders = [_decoder(name) for name in reversed(codings)]
        self._made = [0] * len(self._decoders)
        self._content = bytearray()
        self.full = False
        """Whether it was cut: what comes now is of no use."""

    def feed(self, data: bytes) -> None:
        """Take what came.

        Raises:
            AnswerRefusedError: it is too long, or its compression is broken.
        """
        if self.full:
            return
        self._came += len(data)
        self._bound(self._came)
        for piece in self._decoded(data, 0):
            self._content += piece
            if not self._bound(len(self._content)):
                return

    def content(self) -> bytes:
        """Return the content of what came, which must have been all.

        Raises:
            FetchError: its compression breaks off.
        """
        if not self.full and not all(decoder.whole() for decoder in self._decoders):
            raise FetchError("the answer breaks off within its compression", field="url")
        return bytes(self._content[: self._limit])

    def _decoded(self, data: bytes, depth: int) -> Iterator[bytes]:
        if depth == len(self._decoders):
            yield data
            return
        for piece in self._decoders[depth].feed(data):
            self._made[depth] += len(piece)
            if not self._bound(self._made[depth]) and depth + 1 < len(self._decoders):
                return
            yield from self._decoded(piece, depth + 1)

    def _bound(self, size: int) -> bool:
        """Return whether so many bytes may be; else refuse them, or note that they are cut."""
        if size <= self._limit:
            return True
        if not self._cut:
            raise AnswerRefusedError(f"the answer is longer than {self._limit} bytes", field="url")
        self.full = True
        return False


def _decoder(coding: str) -> Decoder:
    match coding:
        case "gzip" | "x-gzip":
            return _Zlib(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Deflate()
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
        case _:
            raise AnswerRefusedError(f"it is encoded as {coding[:40]!r}, which was not asked for", field="url")


def _broken(error: Exception) -> AnswerRefusedError:
    return AnswerRefusedError(f"its compression is broken: {error}", field="url")


def _next_part(parts: int) -> int:
    if parts == MOST_PARTS:
        raise AnswerRefusedError(f"its compression has more than {MOST_PARTS} parts", field="url")
    return parts + 1


class _Zlib:
    """What zlib reads: of gzip, any number of members."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)
        self._parts = 1
        self._begun = False
        self._ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._ended:
            if self._stream.eof and not self._goes_on(data):
                return
            piece = self._step(data)
            if piece:
                yield piece
            while not self._stream.eof and not self._stream.unconsumed_tail and len(piece) == PIECE:
                piece = self._step(b"")  # it has taken all that came, and holds more
                if piece:
                    yield piece
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def whole(self) -> bool:
        return self._ended or not self._begun or self._stream.eof

    def _step(self, data: bytes) -> bytes:
        try:
            return self._stream.decompress(data, PIECE)
        except zlib.error as error:
            raise _broken(error) from None
        finally:
            self._begun = True

    def _goes_on(self, rest: bytes) -> bool:
        """Whether what follows a stream that has ended is another member of gzip, and not what nobody reads."""
        self._ended = self._window != zlib.MAX_WBITS | 16 or rest[:2] != _GZIP_MAGIC[: len(rest)]
        if not self._ended:
            self._parts = _next_part(self._parts)
            self._stream = zlib.decompressobj(self._window)
        return not self._ended


class _Deflate:
    """Deflate with the zlib header that RFC 9110 asks for, or without, as some servers send it."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: _Zlib | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return
            has_header = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0  # RFC 1950, section 2.2
            self._stream = _Zlib(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        yield from self._stream.feed(data)

    def whole(self) -> bool:
        return not self._head if self._stream is None else self._stream.whole()


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        # It refuses what follows in the same bytes as the end: what follows in others is no better.
        if data and self._stream.is_finished():
            raise AnswerRefusedError("its compression is broken: it goes on after its end", field="url")
        while not self._stream.is_finished():
            try:
                piece = self._stream.process(data, output_buffer_limit=PIECE)
            except brotli.error as error:
                raise _broken(error) from None
            self._begun = self._begun or bool(data)
            if piece:
                yield piece
            # It may hold more output although it would take more input: a piece that is full says so.
            if self._stream.can_accept_more_data() and len(piece) < PIECE:
                return
            data = b""

    def whole(self) -> bool:
        return not self._begun or self._stream.is_finished()


class _Zstd:
    def __init__(self) -> None:
        self._new = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj
        self._stream = self._new()
        self._parts = 1
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_STEP):
            step = data[start : start + _ZSTD_STEP]
            while step:
                if self._stream.eof:  # the next frame
                    self._parts = _next_part(self._parts)
                    self._stream = self._new()
                self._begun = True
                try:
                    piece = self._stream.decompress(step)
                except zstandard.ZstdError as error:
                    raise _broken(error) from None
                if piece:
                    yield piece
                step = self._stream.unused_data if self._stream.eof else b""

    def whole(self) -> bool:
        return not self._begun or self._stream.eof
