"""HTTP as uvicorn speaks it, with a bound on what a client that never finishes a request may take of the edge.

Headers have a size and a time, and each piece of a body has a time (its size is the route's to bound). A connection that
is idle after an answer is closed by uvicorn's own keep-alive; one that became a WebSocket is out of this protocol's
hands.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from typing import Any

MAX_HEADERS = 64 * 1024
HEADER_SECONDS = 20.0
BODY_SECONDS = 60.0
"""How long `BODY_PIECE` bytes of a body, or its end, may take to come."""
BODY_PIECE = 1024 * 1024


class _TooLargeError(Exception):
    """Stops the parser within a callback."""


class BoundedHttp(HttpToolsProtocol):
    """A connection of uvicorn's that is closed with 408 or 431 (RFC 9110, RFC 6585) where a request does not end."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limit: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes since headers began, or since the last piece of a body
        self._piece = 0  # bytes of the body since its time began anew
        self._told = 0  # bytes of the headers and trailers of this request
        self._too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for a first request."""
        super().connection_made(transport)
        self._within(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of headers are counted."""
        if self._limit is None and self._answered():  # the beginning of the next request on this connection
            self._within(HEADER_SECONDS)
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MAX_HEADERS and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._told = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Give the body its time."""
        self._unread = self._piece = 0
        self._within(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unread = 0
        self._piece += len(body)
        if self._piece >= BODY_PIECE:
            self._piece = 0
            self._within(BODY_SECONDS)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Give the edge all the time that it needs to answer."""
        self._unread = 0
        self._in_time()
        super().on_message_complete()
        if self._answered():  # before it was read whole: uvicorn waits for no next request by itself then
            self._within(HEADER_SECONDS)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over."""
        self._in_time()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser stumbled over."""
        if self._too_large:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _count(self, size: int) -> None:
        self._told += size
        if self._told > MAX_HEADERS:
            self._too_large = True
            raise _TooLargeError

    def _within(self, seconds: float) -> None:
        self._in_time()
        self._limit = self.loop.call_later(seconds, self._refuse, HTTPStatus.REQUEST_TIMEOUT)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _in_time(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _refuse(self, status: HTTPStatus) -> None:
        """Close the connection, and say why unless the answer to a request before is still to be given."""
        self._in_time()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        reading = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        if self._answered() or reading:
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
        self.transport.close()
