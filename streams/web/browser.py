"""One Chromium a process, driven by Playwright: started when a page needs it, ended when none did for a while.

One that died or hangs is started anew. Each page has a context of its own, which connects through the guarded proxy by
that page's pass (`backbone.net_proxy`), so nothing that one page leaves behind is there for the next.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import async_playwright

from streams.errors import RenderedUnavailableError, TransientError
from streams.web.browser_memory import end_what_grows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine

    from playwright.async_api import Browser, BrowserContext, Playwright

    from backbone.net_proxy import Pass
    from backbone.settings import Settings

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""What the program is called, in the order in which it is looked for."""

_CLOSE_SECONDS = 5.0
_START_SECONDS = 20.0
_NOWHERE = "http://127.0.0.1:1"
_FLAGS = (
    # No name is resolved in the browser: the proxy resolves what it then checks.
    # WebRTC would ask the local network even for what is not to be found: what it asks for is a number of no network.
    "--host-resolver-rules=MAP *.local 192.0.2.1 , MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--dns-prefetch-disable",
    # What doesn't go through a proxy doesn't go at all.
    "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    # It asks for nothing of its own.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-pings",
    # A script's memory; beyond it the page ends, and not the machine. `browser_memory` has the rest.
    "--js-flags=--max-old-space-size=512",
    # A page's frames share its process, or each would have a memory of its own. They have nothing to hide from another.
    "--disable-site-isolation-trials",
    "--disable-gpu",
    "--disable-3d-apis",
)
_NOT_OURS = (
    # Playwright lets a page open as many windows as it likes; browsers do not.
    "--disable-popup-blocking",
)

_log = structlog.get_logger()
_T = TypeVar("_T")


def installed(settings: Settings) -> Path | None:
    """Return where Chromium is, or None."""
    if settings.chromium is not None:
        return settings.chromium
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return None if found is None else Path(found)


class Chromium:
    """The browser of this process, while there is one.

    Args:
        settings: of the process.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = installed(settings)
        self._idle_seconds = settings.rendered_idle.total_seconds()
        self._driver: Playwright | None = None
        self._browser: Browser | None = None
        self._watching: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._pages = 0
        self._ending: asyncio.Task[None] | None = None
        self._unattended: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def context(self, granted: Pass, user_agent: str, seconds: float) -> AsyncIterator[BrowserContext]:
        """Have a context without a past, which goes through a proxy by that pass.

        Args:
            granted: by the proxy.
            user_agent: what its requests say they come from, beside the browser's own name.
            seconds: until there is one.

        Raises:
            RenderedUnavailableError: there is no browser here, or it doesn't start.
            TransientError: it ended, or took longer.
        """
        self._pages += 1
        self._stay()
        browser: Browser | None = None
        opening: asyncio.Task[BrowserContext] | None = None
        try:
            try:
                async with asyncio.timeout(seconds):
                    # Whoever is gone before the browser answers leaves no half of one behind.
                    browser = await asyncio.shield(self._unattend(self._started()))
                    opening = self._unattend(_opened(browser, granted, user_agent))
                    context = await asyncio.shield(opening)
            except TimeoutError:
                raise TransientError(f"the browser did not open a page within {seconds:.1f} s") from None
            except PlaywrightError as error:
                raise TransientError(f"the browser ended: {error.message.splitlines()[0]}") from None
            yield context
        finally:
            if browser is not None and opening is not None:
                await asyncio.shield(self._unattend(self._close(browser, opening)))
            self._pages -= 1
            if not self._pages:
                self._ending = asyncio.create_task(self._end_when_idle())

    async def aclose(self) -> None:
        """End it."""
        self._stay()
        async with self._changing:
            await self._end()

    async def _started(self) -> Browser:
        async with self._changing:
            if self._browser is None or not self._browser.is_connected():
                await self._end()
                self._browser = await self._start()
                self._watching = asyncio.create_task(end_what_grows(self._browser, lambda: bool(self._pages)))
            return self._browser

    async def _start(self) -> Browser:
        if self._path is None or not self._path.exists():
            raise RenderedUnavailableError(
                f"no Chromium is there: install it, or name it by BARNABAS_CHROMIUM (looked for {', '.join(NAMES)})",
                field="rendered",
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                self._driver = await async_playwright().start()
                browser = await self._driver.chromium.launch(
                    executable_path=self._path,
                    args=list(_FLAGS),
                    ignore_default_args=list(_NOT_OURS),
                    # Its sandbox needs a user: root has more to lose than it protects, and Chromium refuses.
                    chromium_sandbox=os.geteuid() != 0,
                    # What the browser itself may ask for has no pass.
                    proxy={"server": _NOWHERE, "bypass": "<-loopback>"},
                    # A signal that ends the process lets it finish its pages first.
                    handle_sigint=False,
                    handle_sigterm=False,
                    handle_sighup=False,
                )
        except (PlaywrightError, TimeoutError) as error:
            await self._end()
            why = error.message[:500] if isinstance(error, PlaywrightError) else f"it took over {_START_SECONDS:g} s"
            raise RenderedUnavailableError(f"Chromium does not start: {why}", field="rendered") from None
        _log.info("web.browser_started", version=browser.version)
        return browser

    async def _close(self, browser: Browser, opening: asyncio.Task[BrowserContext]) -> None:
        """Close a context, and the browser where that fails: what no page can hold on to is its process."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await (await asyncio.shield(opening)).close()
        except (PlaywrightError, TimeoutError) as error:
            _log.warning("web.browser_lost", error=str(error).partition("\n")[0] or "it hangs")
            async with self._changing:
                if self._browser is browser:
                    await self._end()

    async def _end(self) -> None:
        """End the browser, and with its driver whatever of it does not end by itself."""
        browser, self._browser = self._browser, None
        driver, self._driver = self._driver, None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if browser is not None:
            await _within_reason(browser.close())
        if driver is not None:
            await _within_reason(driver.stop())

    def _unattend(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Let something go on to its end, even if nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._unattended.add(task)
        task.add_done_callback(self._attended)
        return task

    def _attended(self, task: asyncio.Task[Any]) -> None:
        self._unattended.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it has it; else nobody needs it

    def _stay(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def _end_when_idle(self) -> None:
        await asyncio.sleep(self._idle_seconds)
        async with self._changing:
            if not self._pages:
                await self._end()
                _log.info("web.browser_idle")


async def _opened(browser: Browser, granted: Pass, user_agent: str) -> BrowserContext:
    return await browser.new_context(
        proxy={
            "server": granted.url,
            "bypass": "<-loopback>",
            "username": granted.name,
            "password": granted.password,
        },
        user_agent=_named(browser, user_agent),
        accept_downloads=False,
        service_workers="block",
    )


async def _within_reason(end: Awaitable[None]) -> None:
    with suppress(PlaywrightError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await end


def _named(browser: Browser, user_agent: str) -> str:
    """Return a browser's usual name, for servers that look for it, and with it who asks."""
    major = browser.version.partition(".")[0]
    return (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{major}.0.0.0 Safari/537.36 {user_agent}"
    )
