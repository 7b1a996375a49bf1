"""The ways in which servers go wrong, as replies of `tests.contracts.web_server`, byte for byte.

web.replies["/"] = dripping()          # one byte now and then, for ever
web.replies["/"] = packed("br", bomb)  # a gigabyte that fits into a letter
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING

import brotli
import zstandard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.contracts.web_server import Reply

BOMB = b"\0" * 100_000_000


def bare_deflate(data: bytes) -> bytes:
    """Compress without the zlib header, as some servers do."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstandard.ZstdCompressor().compress,
}


def reply(body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return an answer, with whatever length it claims to have."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "Content-Type: text/html", *headers, "", ""]).encode() + body


def packed(encoding: str, data: bytes) -> bytes:
    """Return an answer that is compressed, in one coding or in several (`gzip, br`)."""
    for name in encoding.split(", "):
        data = PACKERS[name](data)
    return reply(data, f"Content-Encoding: {encoding}")


def silent() -> Reply:
    """Take the request and never answer."""
    return _then(b"", lambda _writer: asyncio.Event().wait())


def dripping(seconds: float = 0.01) -> Reply:
    """Send one byte at a time (slow loris)."""
    return _for_ever(reply(b"", length=1_000_000), b"x", seconds)


def endless(head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", piece: bytes = b"x" * 65536) -> Reply:
    """Send a body that has no end, in plain."""
    return _for_ever(head, piece)


def endless_chunks(piece: bytes = b"1\r\nx\r\n" * 10_000) -> Reply:
    """Send chunks and never the last one."""
    return _for_ever(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n", piece)


def endless_headers() -> Reply:
    """Send headers and never the line that ends them."""
    return _for_ever(b"HTTP/1.1 200 OK\r\n", b"X-Header: something\r\n" * 1000)


def endless_promises() -> Reply:
    """Say for ever that the answer will come (`100 Continue`)."""
    return _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def endless_nothing() -> Reply:
    """Send gzip that stands for no bytes at all, for ever: empty blocks."""
    stream = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html\r\n\r\n"
    return _for_ever(head + stream.flush(zlib.Z_FULL_FLUSH), b"\x00\x00\x00\xff\xff" * 10_000)


def in_turn(*replies: bytes) -> Reply:
    """Answer differently each time; the last for ever."""
    left = list(replies)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return answer


def _for_ever(head: bytes, piece: bytes, seconds: float = 0.0) -> Reply:
    async def send(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(seconds)

    return _then(head, send)


def _then(head: bytes, rest: Callable[[asyncio.StreamWriter], Awaitable[object]]) -> Reply:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await rest(writer)

    return answer
