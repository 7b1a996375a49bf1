"""A page as a browser shows it, once its scripts have run: the same `Page` as a fetch gives, made of the final document.

    robots.txt and the turn at the host    for the page, and for each address that it leads on to
    the guarded proxy                      for all that the page loads, by a pass that bounds it
    the document                           once what was waited for is there, read where no script of the page can lie

Pictures, fonts and films are not loaded: nobody looks.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from backbone.net_guard import AddressGuard
from backbone.net_proxy import GuardedProxy
from backbone.net_transport import GuardedBackend, Resolve, system_resolve
from backbone.net_url import target
from streams.errors import BusyError
from streams.handlers.port import in_a_thread
from streams.web.browser import Chromium
from streams.web.fetch import refuse_failure, user_agent
from streams.web.page import page_of
from streams.web.visit import Gate, Visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.settings import Settings
    from streams.handlers.port import Compute
    from streams.web.fetch import Fetcher
    from streams.web.page import Page

MOST_BYTES = 50 * 1024 * 1024
"""That a page and all that it loads may take, as they come over the wire."""
MOST_CONNECTIONS = 300

_PLACE_SECONDS = 2.0
"""How long a page waits for its place in the browser: a partition stands still meanwhile."""


class Renderer:
    """Renders pages; one lives as long as its process.

    Args:
        settings: of the process.
        fetcher: knows what may be read, and whose turn it is.
        resolve: how names become addresses; tests hand in resolvers that lie.
    """

    def __init__(self, settings: Settings, fetcher: Fetcher, resolve: Resolve = system_resolve) -> None:
        self._fetcher = fetcher
        self._proxy = GuardedProxy(GuardedBackend(AddressGuard(settings.net_allow), resolve))
        self._chromium = Chromium(settings)
        self._places = asyncio.Semaphore(settings.rendered_pages)
        self._user_agent = user_agent(settings.user_agent_contact)

    async def start(self) -> None:
        """Open the proxy; the browser starts with the first page."""
        await self._proxy.start()

    async def page(
        self,
        url: str,
        seconds: float,
        *,
        wait_for: str | None = None,
        binary: bool = False,
        compute: Compute = in_a_thread,
    ) -> Page:
        """Render `url` within so many seconds and return it.

        Args:
            url: where to.
            seconds: in all.
            wait_for: a CSS selector that the document must match; without, the page has loaded and asks for no more.
            binary: whether it may be other than text.
            compute: reads what takes long.

        Raises:
            AddressRefusedError: it, or one that it leads on to, may not be reached from here.
            AnswerRefusedError: it is too large, asks for too much, or is a download.
            RobotsRefusedError: its host asks programs not to read it.
            PageUnreadableError: it was not done in time, or what was waited for didn't come, or it broke the browser.
            PayloadError: `wait_for` is no selector.
            HostRestsError: its host asks to try again later.
            FetchError: it did not answer, or with an error of its own.
            BusyError: it was not its turn, or all places in the browser are taken.
            TransientError: the browser ended, or does not answer.
            RenderedUnavailableError: there is no browser.
        """
        until = time.monotonic() + seconds
        start = target(url)
        async with (
            self._place(min(_PLACE_SECONDS, seconds)),
            self._proxy.granting(max_bytes=MOST_BYTES, max_connections=MOST_CONNECTIONS) as granted,
            AsyncExitStack() as turns,
        ):
            gate = Gate(self._fetcher, turns, until, compute)
            await gate.through(start)
            async with self._chromium.context(granted, self._user_agent, until - time.monotonic()) as context:
                answer = await Visit(context, granted, gate, wait_for).read(start, until)
            refuse_failure(answer, time.time())
        return page_of(answer, url, from_cache=False, binary=binary)

    async def aclose(self) -> None:
        """End the browser, and close the proxy."""
        await self._chromium.aclose()
        await self._proxy.aclose()

    @asynccontextmanager
    async def _place(self, wait: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(wait):
                await self._places.acquire()
        except TimeoutError:
            raise BusyError("as many pages as may be are being rendered", field="rendered") from None
        try:
            yield
        finally:
            self._places.release()
