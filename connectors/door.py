"""The one port: HTTP by uvicorn, WebSockets by the `websockets` library on the same connections.

uvicorn hands a connection that asks for an upgrade to the protocol class of its `ws` setting: it makes one, replays the
request to it and sets it as the transport's protocol. `websockets` connections are asyncio protocols, so they take over
whole, with their own limits, pings and close handshakes, and no frame passes through ASGI.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import structlog
import uvicorn
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from connectors.errors import ExposedError, PortError
from connectors.http import BoundedHttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from fastapi import FastAPI
    from websockets.http11 import Request, Response

    from backbone.settings import Settings

_log = structlog.get_logger()

OPEN_SECONDS = 10.0
DRAIN_SECONDS = 5
SLACK = 64 * 1024
"""What a frame or a request may have beside its payload."""
ESCAPED = 6
"""Bytes of a client's JSON that may be one of the record's: an `a` may be written as `\\u0061`."""


def max_frame(settings: Settings) -> int:
    """Return the most bytes that a frame may have, or a body that is not large: a record's payload of any escapes fits."""
    return ESCAPED * settings.max_payload_bytes + SLACK


def max_body(settings: Settings) -> int:
    """Return the most bytes that the body of a request may have."""
    return max(max_frame(settings), settings.max_upload_bytes + SLACK)


class _Path(NamedTuple):
    admit: Callable[[ServerConnection, Request], Response | None]
    handle: Callable[[Connection], Awaitable[None]]


class Connection(ServerConnection):
    """A WebSocket connection that says when its socket takes bytes again, so that nobody has to wait for that in a task."""

    def __init__(self, protocol: ServerProtocol, server: WebSocketServer) -> None:
        super().__init__(protocol, server)
        self.on_room: Callable[[], None] = _nothing

    @property
    def has_room(self) -> bool:
        """Whether its socket takes more bytes, and messages may be sent at all."""
        return not self.paused and self.protocol.state is State.OPEN and not self.transport.is_closing()

    def send_frame(self, frame: bytes) -> None:
        """Send a whole frame that `text_frame` made; there must be room.

        What is broadcast is the same bytes for everyone, as servers don't mask (RFC 6455, section 5.1).
        """
        # uvloop raises what asyncio's own transports only log: this connection is over, those of others are not.
        with suppress(OSError, RuntimeError):
            self.transport.write(frame)

    def resume_writing(self) -> None:
        """Take note that there is room; the transport calls this."""
        super().resume_writing()
        self.on_room()


def text_frame(data: bytes) -> bytes:
    """Return a text message as one unmasked frame (RFC 6455, section 5.2)."""
    return Frame(Opcode.TEXT, data).serialize(mask=False)


def _nothing() -> None:
    return


class WebSockets:
    """The WebSocket paths of the port. It stands where `websockets.serve` would have a server of its own."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._paths: dict[str, _Path] = {}
        self._serving = True
        self._open: set[Connection] = set()
        self.handler_tasks: set[asyncio.Task[None]] = set()

    def add(
        self,
        path: str,
        admit: Callable[[ServerConnection, Request], Response | None],
        handle: Callable[[Connection], Awaitable[None]],
    ) -> None:
        """Serve a path.

        Args:
            path: such as `/v1/ws`.
            admit: returns a response that refuses the handshake, or None.
            handle: has the connection until it is closed.
        """
        self._paths[path] = _Path(admit, handle)

    def protocol(self, **_uvicorn: Any) -> Connection:
        """Return the protocol of a connection that asks for an upgrade; uvicorn calls this."""
        return Connection(ServerProtocol(max_size=self._max_size), cast("WebSocketServer", self))

    def is_serving(self) -> bool:
        """Whether new connections are taken; `websockets` asks this."""
        return self._serving

    async def handler(self, connection: Connection) -> None:
        """Live through a connection; `websockets` starts this as a task in `handler_tasks`."""
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await connection.handshake(self._admit, server_header=None)
            if connection.protocol.state is not State.OPEN:
                connection.transport.abort()
                return
            self._open.add(connection)
            connection.start_keepalive()
            async with connection:
                await self._paths[_path(connection.request)].handle(connection)
        except (ConnectionClosed, TimeoutError):
            connection.transport.abort()
        finally:
            self._open.discard(connection)
            if (task := asyncio.current_task()) is not None:
                self.handler_tasks.discard(task)

    async def close(self) -> None:
        """Close all connections with 1001 (going away)."""
        self._serving = False
        await asyncio.gather(*(connection.close(1001, "the edge stops") for connection in list(self._open)))
        if self.handler_tasks:
            await asyncio.wait(self.handler_tasks, timeout=DRAIN_SECONDS)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        served = self._paths.get(_path(request))
        if served is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "no WebSocket is served here\n")
        return served.admit(connection, request)


class Door:
    """The port, and what is served on it."""

    def __init__(self, settings: Settings, app: FastAPI) -> None:
        """Make a door that is still shut.

        Raises:
            ExposedError: the address is not a loopback one, and nobody said that it may be.
            PortError: the port is taken, or is not to be had.
        """
        self.app = app
        self.sockets = WebSockets(max_frame(settings))
        self._socket = _bind(settings.edge_host, settings.edge_port, exposed=settings.edge_plaintext)
        self._server = _Server(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                ws=cast("Any", self.sockets.protocol),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Serve until `shut`; then finish the requests that have begun."""
        await self._server.serve(sockets=[self._socket])

    def close(self) -> None:
        """Give the port back, served or not."""
        self._socket.close()

    async def shut(self) -> None:
        """Take nothing new, and say goodbye on WebSockets."""
        self._server.should_exit = True
        await self.sockets.close()


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals to the edge: it drains in an order of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int, *, exposed: bool) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortError(
            f"{host!r} is no address of this machine: {error.strerror}", field="BARNABAS_EDGE_HOST"
        ) from None
    family, kind, protocol, _, address = addresses[0]
    if not exposed and not ipaddress.ip_address(address[0]).is_loopback:
        raise ExposedError(
            f"{host!r} can be reached from outside without TLS; use 127.0.0.1, or set BARNABAS_EDGE_PLAINTEXT=true where"
            " a proxy in front has TLS",
            field="BARNABAS_EDGE_HOST",
        )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PortError(f"port {port} on {host}: {error.strerror}", field="BARNABAS_EDGE_PORT") from None
    return listener


def header(request: Request | None, name: str) -> str | None:
    """Return the value of a header that comes once; None where it is absent, or given more than once."""
    values = request.headers.get_all(name) if request else []
    return values[0] if len(values) == 1 else None


def _path(request: Request | None) -> str:
    return urlsplit(request.path).path if request else ""
