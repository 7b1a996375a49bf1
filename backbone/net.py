"""The guarded HTTP connector that every outgoing address goes through.

An address is read in one way or refused (`net_url`), its name is resolved and checked where the socket is opened
(`net_transport`, `net_guard`), and so is each that it redirects to. Headers, bytes (also after decompression,
`net_decode`), redirects and time are bounded.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import h11
import httpx
from h2.exceptions import DenialOfServiceError, H2Error

from backbone.errors import AnswerRefusedError, FetchError, RedirectsError
from backbone.net_decode import ACCEPTED, Body
from backbone.net_guard import AddressGuard
from backbone.net_transport import CONNECT_SECONDS, GuardedBackend, GuardedTransport, Resolve, system_resolve
from backbone.net_url import target

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    import httpcore

REDIRECTS = frozenset({301, 302, 303, 307, 308})

MOST_PIECES = 50_000
"""Chunks of a body: byte by byte, 5 MiB would keep a processor busy for minutes. Honest servers send kilobytes in each."""

_WITHOUT_BODY = frozenset({204, 304})
_GOES_ANYWHERE = frozenset({"accept", "accept-language", "content-type"})
"""Headers that another origin may see; any other may be a credential, whatever it is called."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost.

    Attributes:
        max_bytes: of the body, as it comes and after decompression.
        timeout: seconds in all, from the first look-up to the last byte, redirects included.
        max_redirects: how often the address may change.
        max_header_bytes: names and values of the answer's headers.
        cut: whether a body that is longer ends at `max_bytes` and isn't refused.
    """

    max_bytes: int = 5 * 1024 * 1024
    timeout: float = 20.0
    max_redirects: int = 5
    max_header_bytes: int = 64 * 1024
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is sent to one address, not following where it redirects.

    Attributes:
        method: of HTTP.
        url: where to, as `net_url.target` returns it.
        headers: beside those that every request has.
        content: the body.
    """

    method: str
    url: httpx.URL
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, its body decompressed; that of a redirect is not read."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes


Send = Callable[[Ask], Awaitable[Answer]]
Through = Callable[[Ask, Send], Awaitable[Answer]]
"""What each request goes through, those that redirects lead to as well: it waits its turn, say, or knows the answer."""


async def _straight(ask: Ask, send: Send) -> Answer:
    return await send(ask)


class Connector:
    """Sends requests to addresses that the guard lets through; one lives as long as its process.

    Args:
        allow: networks that the operator opened, as in `settings.net_allow`.
        user_agent: what the requests say they come from.
        resolve: how names become addresses; tests hand in resolvers that lie.
        sockets: what opens connections; tests hand in one that tells where to.
        tls: whom to trust, if not whom browsers trust; tests hand in an authority of their own.
    """

    def __init__(
        self,
        allow: Iterable[str] = (),
        *,
        user_agent: str,
        resolve: Resolve = system_resolve,
        sockets: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._transport = GuardedTransport(GuardedBackend(AddressGuard(allow), resolve, sockets), tls)
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": ACCEPTED}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        limits: Limits = Limits(),
        through: Through = _straight,
    ) -> Answer:
        """Send a request, follow its redirects and return the whole answer, whatever its status.

        Another origin gets the body (after 307 and 308, by the rules of HTTP) but no header that may be a credential.

        Args:
            method: of HTTP.
            url: where to.
            headers: beside those that every request has.
            content: the body.
            limits: what it may cost.
            through: what each single request goes through; counts as time of the whole.

        Raises:
            AddressRefusedError: the address, or one that it leads to, may not be reached.
            AnswerRefusedError: the answer is too large, redirects too often or can't be decoded.
            FetchError: nothing, or nothing whole, came back in time.
        """
        ask = Ask(method.upper(), target(url), httpx.Headers(headers), content)
        try:
            async with asyncio.timeout(limits.timeout):
                for _ in range(limits.max_redirects + 1):
                    answer = await through(ask, lambda ask: self._send(ask, limits))
                    if not _redirects(answer):
                        return answer
                    ask = _following(ask, answer)
        except TimeoutError:
            raise FetchError(f"no whole answer within {limits.timeout:g} s", field="url") from None
        raise RedirectsError(f"it redirects more than {limits.max_redirects} times", field="url")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _send(self, ask: Ask, limits: Limits) -> Answer:
        headers = httpx.Headers(self._headers)
        headers.update(ask.headers)
        request = httpx.Request(
            ask.method,
            ask.url,
            headers=headers,
            content=ask.content,
            # The whole is timed by whoever calls this.
            extensions={"timeout": {"connect": CONNECT_SECONDS}},
        )
        try:
            return await self._exchange(ask, request, limits)
        except (httpx.HTTPError, H2Error, ValueError) as error:  # what httpcore lets through of HTTP/2 while it reads
            if _is_of_headers(error):
                raise AnswerRefusedError("its headers are longer than anybody reads", field="url") from None
            raise FetchError(f"the connection failed: {str(error) or type(error).__name__}", field="url") from None

    async def _exchange(self, ask: Ask, request: httpx.Request, limits: Limits) -> Answer:
        try:
            response = await self._transport.handle_async_request(request)
            try:
                _check_head(response)
                return Answer(str(ask.url), response.status_code, response.headers, await _body(ask, response, limits))
            finally:
                await response.aclose()
        except BaseException:
            await self._transport.break_off(ask.url)
            raise


def _check_head(response: httpx.Response) -> None:
    """Refuse what h11 refuses in HTTP/1.1, and httpcore takes in HTTP/2 (RFC 9113, section 8.2.1)."""
    if not 200 <= response.status_code <= 999:
        raise FetchError("the connection failed: it answered with no status of HTTP", field="url")
    if any(re.search(rb"[\0\r\n]", value) for _, value in response.headers.raw):
        raise FetchError("the connection failed: a header holds a control character", field="url")


async def _body(ask: Ask, response: httpx.Response, limits: Limits) -> bytes:
    """Return the decompressed body.

    httpx would inflate a whole network read at once, a thousandfold where it was made for that; this stops at the limit.
    """
    if sum(len(name) + len(value) for name, value in response.headers.raw) > limits.max_header_bytes:
        raise AnswerRefusedError(f"its headers are longer than {limits.max_header_bytes} bytes", field="url")
    if ask.method == "HEAD" or response.status_code in REDIRECTS | _WITHOUT_BODY:
        return b""
    body = Body(response.headers.get("content-encoding", ""), limits.max_bytes, cut=limits.cut)
    pieces = 0
    async for chunk in response.aiter_raw():
        pieces += 1
        if pieces > MOST_PIECES:
            raise AnswerRefusedError(f"it comes in more than {MOST_PIECES} pieces", field="url")
        body.feed(chunk)
        if body.full:
            break
    return body.content()


def _is_of_headers(error: BaseException | None) -> bool:
    """Whether the parser gave up on a head that would not end."""
    while error is not None and not isinstance(error, (h11.RemoteProtocolError, DenialOfServiceError)):
        error = error.__cause__ or error.__context__
    return isinstance(error, DenialOfServiceError) or getattr(error, "error_status_hint", None) == 431


def _redirects(answer: Answer) -> bool:
    return answer.status in REDIRECTS and "location" in answer.headers


def _following(ask: Ask, answer: Answer) -> Ask:
    """Return the request that a redirect leads to (RFC 9110, section 15.4)."""
    url = target(answer.headers["location"], ask.url)
    following = replace(ask, url=url)
    if answer.status in {301, 302, 303} and ask.method not in {"GET", "HEAD"}:
        following = replace(following, method="GET", content=None, headers=_without(ask.headers, {"content-type"}))
    if _origin(url) != _origin(ask.url):
        private = {name for name in following.headers if name not in _GOES_ANYWHERE}
        following = replace(following, headers=_without(following.headers, private))
    return following


def _without(headers: httpx.Headers, names: set[str]) -> httpx.Headers:
    return httpx.Headers([(name, value) for name, value in headers.multi_items() if name not in names])


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
