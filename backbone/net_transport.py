"""How connections are made: only here does a name become a socket, and only to a number that the guard let through.

The name is resolved once, each of its addresses is checked, and the socket is opened to just the number that passed, so
that no second answer of the resolver can lead elsewhere. TLS and the Host header keep the name. No proxy of the
environment is used, no cookie kept, and a connection carries nothing from one request to the next.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

import httpcore
import httpx

from backbone.errors import AddressRefusedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from backbone.net_guard import AddressGuard

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host's name and a port to its addresses as numbers."""

CONNECT_SECONDS = 5.0
"""How long one address may take to answer: a host that has several must get past one that doesn't."""
MOST_ADDRESSES = 8
"""Of one host that are tried: a name can have thousands, and would have us knock at all of them."""

# Their own, for a name whose servers are silent holds one for half a minute, and files and Redis want threads as well.
_RESOLVERS = ThreadPoolExecutor(16, thread_name_prefix="resolve")


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the operating system for the addresses of `host`, in the order in which it would try them."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_RESOLVERS, ask)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens sockets to what may be reached.

    Args:
        guard: judges each address.
        resolve: how names become addresses.
        sockets: what opens them.
    """

    def __init__(
        self,
        guard: AddressGuard,
        resolve: Resolve = system_resolve,
        sockets: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._guard = guard
        self._resolve = resolve
        self._sockets = sockets or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that may be reached and answers.

        Raises:
            AddressRefusedError: none of them may be reached.
            httpcore.ConnectError: none answers, or there is none.
            httpcore.ConnectTimeout: none answers in time.
        """
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._permitted(host, port):
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _permitted(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} can't be resolved: {error}") from None
        permitted: list[str] = []
        refusal: AddressRefusedError | None = None
        for address in addresses:
            try:
                self._guard.check(address, port)
            except AddressRefusedError as error:
                refusal = error
            else:
                permitted.append(address)
        if refusal is not None and not permitted:
            raise refusal
        return permitted[:MOST_ADDRESSES]


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool whose sockets come from the guarded backend.

    Args:
        backend: opens them.
        tls: whom to trust; None means the authorities that browsers trust.
    """

    def __init__(self, backend: GuardedBackend, tls: ssl.SSLContext | None = None) -> None:
        tls = tls or _tls()
        super().__init__(verify=tls, trust_env=False)
        self._connections = self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            http2=True,
            network_backend=backend,
        )

    async def break_off(self, url: httpx.URL) -> None:
        """Close the connection on which an answer was not read to its end.

        In HTTP/1.1 httpcore does that. In HTTP/2 it would leave the stream open, until the server takes no other.
        """
        origin = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/").origin
        for connection in self._connections.connections:
            if connection.can_handle_request(origin) and "HTTP/2" in connection.info():
                await connection.aclose()


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates of all authorities takes 30 ms or more: once a process.
    return httpx.create_ssl_context(trust_env=False)
