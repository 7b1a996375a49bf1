"""A web server of one page, for the demo to scrape: real HTTP on the loopback address, nothing to reach outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from barnabas.errors import PortTakenError

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
PATH = "/bakery.html"
MAX_REQUEST = 64 * 1024


class Page:
    """Serves `GET /bakery.html`, and 404 for all else (a polite reader asks for `/robots.txt` first)."""

    def __init__(self, html: bytes, port: int) -> None:
        self._html = html
        self._port = port
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self._port}{PATH}"

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._answer, HOST, self._port, limit=MAX_REQUEST)
        except OSError as error:
            raise PortTakenError(
                f"port {self._port} can't be used ({error.strerror}): set BARNABAS_DEMO_PORT to another port",
                field="BARNABAS_DEMO_PORT",
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close: a kept connection would keep the server from closing."""
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            found = request.startswith(b"GET " + PATH.encode() + b" ")
            status, body = (b"200 OK", self._html) if found else (b"404 Not Found", b"")
            writer.write(
                b"HTTP/1.1 %b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (status, len(body), body)
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return  # whoever asked went away, or asked for nothing that HTTP knows
        finally:
            writer.close()
