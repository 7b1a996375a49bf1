"""A web server on loopback that does exactly what a test writes, byte for byte, however wrong that is.

`tests.misbehaving` has the ways in which servers go wrong, ready to be served.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class WebServer:
    """Serves `replies` by path, and 404 for others; `heads` keeps each request's head.

    A robots.txt that no test wrote is asked for by every polite reader: that is not kept.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.heads: list[str] = []
        self.port = 0

    @property
    def allowed(self) -> str:
        """The rule that opens this server, as in `settings.net_allow`."""
        return f"127.0.0.1/32:{self.port}"

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def says(self, path: str, body: bytes, head: str = "Content-Type: text/html", status: str = "200 OK") -> str:
        self.replies[path] = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n\r\n".encode() + body
        return self.url(path)

    def redirects(self, path: str, to: str) -> str:
        return self.says(path, b"", f"Location: {to}", "302 Found")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            if path != "/robots.txt" or path in self.replies:
                self.heads.append(head)
            reply = self.replies.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, as some tests want it to, or the test is over
        finally:
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[WebServer]:
    """Run a server on a free port of loopback."""
    web = WebServer()
    server = await asyncio.start_server(web.answer, "127.0.0.1", 0)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
