"""A forward proxy on loopback through which a browser connects: to what the guard lets through, and nowhere else.

The backend is that of `net.Connector`, so names are resolved and checked where the socket is opened. Who wants through
needs a pass, made for one page: its password keeps others on the machine out, its bounds say how much may come and go,
and its end closes what is open. A connection carries one request, or one tunnel, so none outlives the check of where it
leads.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import h11
import httpcore

from backbone.errors import AddressRefusedError, AnswerRefusedError
from backbone.net_proxy_client import ProxyClient
from backbone.net_transport import CONNECT_SECONDS
from backbone.net_url import target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.net_transport import GuardedBackend

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True)
class Pass:
    """What one page may do through the proxy.

    Attributes:
        url: of the proxy.
        name: of the credential.
        password: of the credential.
        max_bytes: in both directions in all.
        max_connections: in all.
        refused: why an address, by host and port, was not reached.
        spent: what was used up; nothing goes through any more.
        ended: set then.
    """

    url: str
    name: str
    password: str
    max_bytes: int
    max_connections: int
    refused: dict[tuple[str, int], AddressRefusedError] = field(default_factory=dict)
    spent: AnswerRefusedError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _bytes: int = 0
    _connections: int = 0
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, size: int) -> None:
        """Count bytes that are about to pass.

        Raises:
            AnswerRefusedError: they are too many.
        """
        self._bytes += size
        if self._bytes > self.max_bytes:
            self._end(f"the page loads more than {self.max_bytes} bytes")

    def begin(self, connection: asyncio.Task[None]) -> None:
        """Count a connection, and close it when the pass ends.

        Raises:
            AnswerRefusedError: they are too many.
        """
        self._connections += 1
        if self._connections > self.max_connections:
            self._end(f"the page asks more than {self.max_connections} times")
        self._open.add(connection)
        connection.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Close every connection."""
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _end(self, why: str) -> None:
        self.spent = AnswerRefusedError(why, field="url")
        self.ended.set()
        raise self.spent


class GuardedProxy:
    """The proxy; one lives as long as its process.

    Args:
        backend: opens sockets to what may be reached.
    """

    def __init__(self, backend: GuardedBackend) -> None:
        self._backend = backend
        self._passes: dict[str, Pass] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.url = ""
        """Where it listens, once it does."""

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @asynccontextmanager
    async def granting(self, *, max_bytes: int, max_connections: int) -> AsyncIterator[Pass]:
        """Let somebody through until the block ends, within these bounds."""
        granted = Pass(self.url, secrets.token_hex(8), secrets.token_urlsafe(32), max_bytes, max_connections)
        self._passes[granted.name] = granted
        try:
            yield granted
        finally:
            del self._passes[granted.name]
            await granted.close()

    async def aclose(self) -> None:
        """Listen no more, and close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = ProxyClient(reader, writer)
        client.connection = asyncio.ensure_future(self._handle(client))
        self._open.add(client.connection)
        client.connection.add_done_callback(self._open.discard)
        try:
            await asyncio.wait({client.connection})
        finally:
            client.connection.cancel()
            writer.close()

    async def _handle(self, client: ProxyClient) -> None:
        """Serve one request."""
        # Whoever goes away in the middle, on either side, ends it: there is nobody to tell.
        with suppress(OSError, EOFError, h11.ProtocolError, httpcore.NetworkError, httpcore.TimeoutException):
            request = await client.request()
            granted = self._granted(request)
            if granted is None:
                await client.refuse(407, "this proxy is not for you", ("Proxy-Authenticate", 'Basic realm="barnabas"'))
                return
            try:
                if granted.spent is not None:
                    raise granted.spent
                granted.begin(client.connection)
                await self._pass_on(client, request, granted)
            except (AddressRefusedError, AnswerRefusedError) as error:
                await client.refuse(403, error.message)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                await client.refuse(502, str(error) or "it can't be reached")

    async def _pass_on(self, client: ProxyClient, request: h11.Request, granted: Pass) -> None:
        tunnel = request.method == b"CONNECT"
        asked = request.target.decode("ascii")
        url = target(f"https://{asked}" if tunnel else asked)
        port = url.port or _PORTS[url.scheme]
        if tunnel and "/" in asked:
            raise AddressRefusedError("a tunnel leads to a host and a port", field="url")
        if not tunnel and url.scheme != "http":
            raise AddressRefusedError("https goes through a tunnel", field="url")
        try:
            origin = await self._backend.connect_tcp(url.host, port, CONNECT_SECONDS)
        except AddressRefusedError as error:
            granted.refused[url.host, port] = error
            raise
        try:
            if tunnel:
                await client.tunnel(origin, granted)
            else:
                await client.exchange(origin, request, url, granted)
        finally:
            await origin.aclose()

    def _granted(self, request: h11.Request) -> Pass | None:
        """Return the pass whose credential a request carries (RFC 7617)."""
        header = dict(request.headers).get(b"proxy-authorization", b"")
        scheme, _, encoded = header.partition(b" ")
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        granted = self._passes.get(name)
        known = granted is not None and secrets.compare_digest(granted.password, password)
        return granted if known and scheme.lower() == b"basic" else None
