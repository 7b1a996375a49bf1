"""The guarded HTTP connector that every outgoing address goes through.

A name is resolved first, each of its addresses is checked, and the socket is opened to just the number that passed,
so that no second answer of the resolver can lead elsewhere. TLS and the Host header keep the name. Each redirect
comes through here again, and bytes (also after decompression) and time are bounded.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpcore
import httpx

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError
from backbone.net_guard import AddressGuard

if TYPE_CHECKING:
    import ssl

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host's name and a port to its addresses as numbers."""

Turn = Callable[[str], AbstractAsyncContextManager[object]]
"""From `host` or `host:port` to what is entered for as long as one request to it takes."""


def _at_once(_host: str) -> AbstractAsyncContextManager[object]:
    return nullcontext()


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the operating system for the addresses of `host`, in the order in which it would try them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost.

    Attributes:
        max_bytes: of the body, counted after decompression.
        timeout: seconds in all, from the first look-up to the last byte, redirects included.
        max_redirects: how often the address may change.
    """

    max_bytes: int = 5 * 1024 * 1024
    timeout: float = 20.0
    max_redirects: int = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, its body decompressed."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes


class Connector:
    """Sends requests to addresses that the guard lets through; one lives as long as its process.

    Args:
        allow: networks that the operator opened, as in `settings.net_allow`.
        user_agent: what the requests say they come from.
        resolve: how names become addresses; tests hand in resolvers that lie.
    """

    def __init__(self, allow: Iterable[str] = (), *, user_agent: str, resolve: Resolve = system_resolve) -> None:
        self._client = httpx.AsyncClient(
            transport=_GuardedTransport(_GuardedBackend(AddressGuard(allow), resolve)),
            headers={"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"},
            # One owner's cookies must never travel with another's request: none are kept.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # The whole is timed in `request`; a host with several addresses must get past one that doesn't answer.
            timeout=httpx.Timeout(None, connect=5.0),
            follow_redirects=False,
            trust_env=False,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        limits: Limits = Limits(),
        turn: Turn = _at_once,
    ) -> Answer:
        """Send a request, follow its redirects and return the whole answer, whatever its status.

        Args:
            method: of HTTP.
            url: where to.
            headers: beside those that every request has.
            content: the body.
            limits: what it may cost.
            turn: entered around each of the requests, also those that redirects lead to; counts as time of the whole.

        Raises:
            AddressRefusedError: the address, or one that it leads to, may not be reached.
            AnswerRefusedError: the answer is too large, redirects too often or can't be decoded.
            FetchError: nothing, or nothing whole, came back in time.
        """
        try:
            async with asyncio.timeout(limits.timeout):
                request = self._client.build_request(method, url, headers=headers, content=content)
                return await self._follow(request, limits, turn)
        except TimeoutError:
            raise FetchError(f"no whole answer within {limits.timeout:g} s", field="url") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise AddressRefusedError(f"this is no address of the web: {error}", field="url") from None
        except httpx.HTTPError as error:
            raise FetchError(f"the connection failed: {str(error) or type(error).__name__}", field="url") from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _follow(self, request: httpx.Request, limits: Limits, turn: Turn) -> Answer:
        for _ in range(limits.max_redirects + 1):
            async with turn(request.url.netloc.decode("ascii")):
                response = await self._client.send(request, stream=True)
                try:
                    if response.next_request is None:
                        body = await _read_bounded(response, limits.max_bytes)
                        return Answer(str(response.url), response.status_code, response.headers, body)
                    request = response.next_request
                finally:
                    await response.aclose()
        raise AnswerRefusedError(f"it redirects more than {limits.max_redirects} times", field="url")


async def _read_bounded(response: httpx.Response, limit: int) -> bytes:
    """Return the decompressed body of `response`.

    httpx would inflate a whole network read at once, a thousandfold where it was made for that; this stops at the limit.
    """
    inflate = _inflater(response.headers.get("content-encoding", ""))
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += inflate(chunk, limit + 1 - len(body))
        if len(body) > limit:
            raise AnswerRefusedError(f"the answer is longer than {limit} bytes", field="url")
    return bytes(body)


def _inflater(encoding: str) -> Callable[[bytes, int], bytes]:
    """Return what turns a chunk into at most so many bytes of the content (RFC 9110, section 8.4)."""
    match encoding.strip().lower():
        case "" | "identity":
            return lambda chunk, at_most: chunk[:at_most]
        case "gzip" | "x-gzip":
            return _Inflater(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Inflater(zlib.MAX_WBITS)
        case _:
            raise AnswerRefusedError(f"it is encoded as {encoding!r}, which was not asked for", field="url")


class _Inflater:
    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)
        self._begun = False

    def __call__(self, chunk: bytes, at_most: int) -> bytes:
        try:
            return self._stream.decompress(chunk, at_most)
        except zlib.error as error:
            if self._begun:
                raise AnswerRefusedError(f"its compression is broken: {error}", field="url") from None
            # Some servers send `deflate` without the zlib header that RFC 9110 asks for.
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
            self._begun = True
            return self(chunk, at_most)
        finally:
            self._begun = True


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens sockets for the pool: the one place where a name becomes a connection."""

    def __init__(self, guard: AddressGuard, resolve: Resolve) -> None:
        self._guard = guard
        self._resolve = resolve
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
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
        except OSError as error:
            raise httpcore.ConnectError(f"{host} can't be resolved: {error.strerror or error}") from None
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
        return permitted


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates of all authorities takes 30 ms or more: once a process.
    return httpx.create_ssl_context(trust_env=False)


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool whose sockets come from the guarded backend."""

    def __init__(self, backend: _GuardedBackend) -> None:
        super().__init__(verify=_tls(), trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            http2=True,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in {"http", "https"}:
            raise AddressRefusedError("only http and https may be reached", field="url")
        if request.url.userinfo:
            raise AddressRefusedError("an address may not hold a name and password", field="url")
        return await super().handle_async_request(request)
