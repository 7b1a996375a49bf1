"""A visit of the browser to one page: what the page may do on its way, and what it is in the end.

Its address, and each that it leads on to, goes through the gate. Its document is read where no script of it can lie, once
it shows what is waited for. Whatever the browser asks meanwhile, such as what to do about a dialog, has an answer.
"""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError
from backbone.net import REDIRECTS, Answer
from backbone.net_url import target
from schemas.errors import BarnabasError
from streams.errors import PageUnreadableError, PayloadError, TransientError
from streams.web.browser_memory import MOST_MEMORY
from streams.web.page import is_text, media_type

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from playwright.async_api import BrowserContext, CDPSession, Page, Request, Response

    from backbone.net_proxy import Pass
    from streams.handlers.port import Compute
    from streams.web.fetch import Fetcher

MOST_REQUESTS = 1000
MOST_CHARACTERS = 5 * 1024 * 1024
"""Of the final document."""

_QUIET_SECONDS = 5.0
"""How long a page that has loaded may go on asking for more; some never stop."""
_SHARE_FOR_QUIET = 0.75
_MOVES = 3
"""How often a page may go on to another while it is read."""
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_PDF = "application/pdf"
_UNSEEN = ("Image", "Media", "Font")
_ERROR_PAGE = "chrome-error://chromewebdata/"
_WITHOUT_CONTENT = frozenset({204, 205})
_NOTHING_TO_SHOW = ("ERR_HTTP_RESPONSE_CODE_FAILURE", "ERR_ABORTED")
_BROKE = f"the page broke its part of the browser, as one does that takes over {MOST_MEMORY >> 20} MiB of memory"
_DOCUMENT: Final = """(() => {
  const type = document.doctype ? new XMLSerializer().serializeToString(document.doctype) + "\\n" : "";
  const html = type + (document.documentElement ? document.documentElement.outerHTML : "");
  return html.length > %d ? null : html;
})()"""


class Gate:
    """What a page has to pass on its way: its own address, and each that it leads on to."""

    def __init__(self, fetcher: Fetcher, turns: AsyncExitStack, until: float, compute: Compute) -> None:
        self._fetcher = fetcher
        self._turns = turns
        self._until = until
        self._compute = compute
        self._held: set[bytes] = set()
        self._one_at_a_time = asyncio.Lock()
        self.last: httpx.URL | None = None
        """The address that was let through last."""

    async def through(self, url: httpx.URL) -> None:
        """Return when it may be read, and it is the turn of whoever reads it, to the end of the visit."""
        async with self._one_at_a_time:
            if url.netloc in self._held:
                await self._fetcher.permitted(url, self._compute)
            else:
                await self._turns.enter_async_context(self._fetcher.turn(url, self._until, self._compute))
                self._held.add(url.netloc)
            self.last = url


class Visit:
    """One page in the browser."""

    def __init__(self, context: BrowserContext, granted: Pass, gate: Gate, wait_for: str | None) -> None:
        self._context = context
        self._granted = granted
        self._gate = gate
        self._wait_for = wait_for
        self._page: Page
        self._control: CDPSession
        self._frame = ""
        self._requests = 0
        self._response: Response | None = None
        self._source: tuple[str, bytes] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answering: set[asyncio.Task[None]] = set()

    async def read(self, start: httpx.URL, until: float) -> Answer:
        """Return the page as it is in the end."""
        reading = asyncio.ensure_future(self._read(start, until))
        spent = asyncio.ensure_future(self._granted.ended.wait())
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                ends: set[asyncio.Future[Any]] = {reading, spent, self._failed}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._granted.spent is not None:
                raise self._granted.spent
            if self._failed.done():
                await self._failed
            return await reading
        except TimeoutError:
            raise self._too_slow() from None
        except PlaywrightError as error:
            raise self._failure(error) from None
        finally:
            open_still: tuple[asyncio.Future[Any], ...] = (reading, spent, self._failed, *self._answering)
            for one in open_still:
                one.cancel()
            await asyncio.gather(*open_still, return_exceptions=True)

    async def _read(self, start: httpx.URL, until: float) -> Answer:
        self._page = await self._context.new_page()
        await self._take_control()
        try:
            await self._page.goto(str(start), wait_until="commit" if self._wait_for else "load", timeout=0)
        except PlaywrightError as error:
            response = self._response if self._has_answered() else None
            if response is None or not any(name in error.message for name in _NOTHING_TO_SHOW):
                raise
            return await _without_content(response)
        await self._settled(until)
        for _ in range(_MOVES):
            with suppress(PlaywrightError):  # it goes on to another page just now
                return await self._answer()
            await self._page.wait_for_load_state("load", timeout=0)
        return await self._answer()

    async def _take_control(self) -> None:
        page = self._page
        page.on("dialog", lambda dialog: self._soon(dialog.dismiss()))
        page.on("crash", lambda _page: self._fail(PageUnreadableError(_BROKE, field="url")))
        page.on("response", self._on_response)
        self._context.on("page", lambda other: self._soon(other.close()))
        self._context.on("request", self._on_request)
        self._control = await self._context.new_cdp_session(page)
        self._frame = (await self._control.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        self._control.on("Fetch.requestPaused", lambda event: self._soon(self._on_paused(event)))
        patterns = [{"resourceType": kind} for kind in ("Document", *_UNSEEN)]
        answered = {"resourceType": "Document", "requestStage": "Response"}
        await self._control.send("Fetch.enable", {"patterns": [*patterns, answered]})

    async def _settled(self, until: float) -> None:
        if self._wait_for:
            try:
                await self._page.wait_for_selector(f"css={self._wait_for}", state="attached", timeout=0)
            except PlaywrightError as error:
                if "css selector" not in error.message and "not a valid selector" not in error.message:
                    raise
                raise PayloadError(f"{self._wait_for!r} is no CSS selector", field="wait_for") from None
            return
        quiet = min(_QUIET_SECONDS, _SHARE_FOR_QUIET * (until - time.monotonic()))
        with suppress(PlaywrightTimeoutError):
            await self._page.wait_for_load_state("networkidle", timeout=max(quiet, 0.001) * 1000)

    async def _answer(self) -> Answer:
        response = self._response
        refused = self._refused()
        if refused is not None:
            raise refused
        if response is None:
            raise FetchError("it did not answer", field="url")
        if self._page.url == _ERROR_PAGE and not self._has_answered():
            raise FetchError("it leads on to a page that can't be read", field="url")
        if self._page.url == _ERROR_PAGE or response.status in _WITHOUT_CONTENT:
            return await _without_content(response)
        headers = await _headers(response)
        kind = media_type(headers.get("content-type", "text/html"))[0]
        if kind == _PDF:  # what Chromium has of it is the document of its viewer
            raise AnswerRefusedError("it is a PDF: ask for it without `rendered`", field="url")
        if kind not in _HTML:
            url, source = self._source or ("", b"")
            body = source if url == response.url else await response.body()
            return Answer(response.url, response.status, headers, body)
        # Where the page's own scripts run, it could say that its document is another.
        world = await self._control.send("Page.createIsolatedWorld", {"frameId": self._frame, "worldName": "reading"})
        found = await self._control.send(
            "Runtime.evaluate",
            {
                "expression": _DOCUMENT % MOST_CHARACTERS,
                "contextId": world["executionContextId"],
                "returnByValue": True,
            },
        )
        html = found["result"].get("value")
        if html is None:
            raise AnswerRefusedError(f"its document is longer than {MOST_CHARACTERS} characters", field="url")
        headers["content-type"] = "text/html; charset=utf-8"
        return Answer(str(target(self._page.url)), response.status, headers, html.encode("utf-8", "replace"))

    async def _on_paused(self, event: dict[str, Any]) -> None:
        """Let a document through, or not; what nobody sees is not loaded."""
        which = {"requestId": event["requestId"]}
        if event["resourceType"] in _UNSEEN:
            await self._control.send("Fetch.failRequest", {**which, "errorReason": "BlockedByClient"})
            return
        if "responseStatusCode" in event:
            await self._keep_source(event)
        elif event["frameId"] == self._frame and "responseErrorReason" not in event:
            try:
                await self._gate.through(target(event["request"]["url"]))
            except BarnabasError as error:
                self._fail(error)
                await self._control.send("Fetch.failRequest", {**which, "errorReason": "AccessDenied"})
                return
        await self._control.send("Fetch.continueRequest", which)

    async def _keep_source(self, event: dict[str, Any]) -> None:
        """Keep the bytes of a text that is no HTML: later, Chromium has it as text alone, in a charset that it guessed."""
        headers = httpx.Headers([(one["name"], one["value"]) for one in event.get("responseHeaders", ())])
        kind = media_type(headers.get("content-type", "text/html"))[0]
        redirects = event["responseStatusCode"] in REDIRECTS
        if event["frameId"] != self._frame or redirects or kind in _HTML or not is_text(kind):
            return
        with suppress(PlaywrightError):
            found = await self._control.send("Fetch.getResponseBody", {"requestId": event["requestId"]})
            body = base64.b64decode(found["body"]) if found["base64Encoded"] else found["body"].encode()
            self._source = event["request"]["url"], body

    def _on_response(self, response: Response) -> None:
        if response.request.is_navigation_request() and response.frame == self._page.main_frame:
            self._response = response

    def _on_request(self, _request: Request) -> None:
        self._requests += 1
        if self._requests > MOST_REQUESTS:
            self._fail(AnswerRefusedError(f"the page asks more than {MOST_REQUESTS} times", field="url"))

    def _soon(self, answer: Any) -> None:
        """Do what the browser waits for; where the page is gone by then, nobody does."""

        async def answered() -> None:
            with suppress(PlaywrightError):
                await answer

        task = asyncio.ensure_future(answered())
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _fail(self, error: BarnabasError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _refused(self) -> AddressRefusedError | None:
        """Why the proxy did not reach the page itself, if so."""
        url = self._gate.last
        if url is None:
            return None
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        return self._granted.refused.get((url.host, port))

    def _has_answered(self) -> bool:
        """Whether the address that was let through last is the one that answered last."""
        return self._response is not None and self._gate.last == target(self._response.url)

    def _too_slow(self) -> BarnabasError:
        if self._response is None:
            return FetchError("it did not answer in time", field="url")
        if self._wait_for:
            return PageUnreadableError(f"nothing matched {self._wait_for!r} in time", field="wait_for")
        return PageUnreadableError("the page was not done in time: its loading, or a script, goes on", field="url")

    def _failure(self, error: PlaywrightError) -> BarnabasError:
        said = error.message.splitlines()[0]
        refused = self._refused()
        if refused is not None:
            return refused
        if "Download is starting" in said:
            return AnswerRefusedError("it is a download, and not a page", field="url")
        if "ERR_INVALID_AUTH_CREDENTIALS" in said:
            return AnswerRefusedError("it asks for a name and a password", field="url")
        browser = self._context.browser
        if browser is None or not browser.is_connected() or "closed" in said or "crashed" in said:
            return TransientError("the browser ended while the page was read")
        return FetchError(f"the browser could not read it: {said}", field="url")


async def _headers(response: Response) -> httpx.Headers:
    return httpx.Headers([(one["name"], one["value"]) for one in await response.headers_array()])


async def _without_content(response: Response) -> Answer:
    """Return an answer in whose place the browser shows a page of its own, or none."""
    return Answer(response.url, response.status, await _headers(response), b"")
