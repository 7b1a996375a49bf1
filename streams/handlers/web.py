"""`web.scrape`: a page of the web, fetched politely and read in the mode that was asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from schemas.tiers import Tier
from streams.errors import RenderedUnavailableError
from streams.handlers.port import Context, Handler
from streams.web.payload import ScrapePayload
from streams.web.result import ScrapeResult
from streams.web.work import Mode, Source, check, read

if TYPE_CHECKING:
    from backbone.settings import Settings
    from streams.web.fetch import Fetcher
    from streams.web.page import Page
    from streams.web.rendered import Renderer


class WebScrape(Handler[ScrapePayload, ScrapeResult]):
    """Read a page of the web."""

    kind = "web.scrape"
    tier = Tier.REALTIME
    payload = ScrapePayload
    result = ScrapeResult

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._fetcher: Fetcher | None = None
        self._renderer: Renderer | None = None
        self._opening = asyncio.Lock()

    async def run(self, payload: ScrapePayload, context: Context) -> ScrapeResult:
        """Fetch the page, and read it where that can be stopped.

        Raises:
            PayloadError: a selector can't be read or evaluated; the field is its path, such as `selectors.price`.
            PageUnreadableError: the page is nothing that the mode could read.
            RenderedUnavailableError: no browser is there to render it.
            AddressRefusedError: the address may not be reached from here.
            FetchError: the address did not answer as it should.
        """
        wanted = payload.wanted
        if wanted:  # before the fetch: a selector that can't be read must not cost one
            await context.compute(check, wanted)
        page = await self._page(payload, context)
        if payload.how is not Mode.RAW:
            source = Source(page.text, page.content_type, page.language, page.final_url)
            found = await context.compute(read, source, payload.how, wanted)
        elif page.charset:
            found = {"text": page.text, "language": page.language}
        else:
            found = {"body_ref": (await context.blobs.put(page.body)).ref}
        return ScrapeResult(
            url=payload.url,
            final_url=page.final_url,
            status=page.status,
            content_type=page.content_type,
            charset=page.charset,
            fetched_at=context.now,
            from_cache=page.from_cache,
            mode=payload.how,
            **found,
        )

    async def _page(self, payload: ScrapePayload, context: Context) -> Page:
        seconds = min(payload.timeout, (context.deadline - context.now).total_seconds())
        binary = payload.how is Mode.RAW
        fetcher = await self._opened()
        if not payload.rendered:
            return await fetcher.page(payload.url, seconds, binary=binary, compute=context.compute)
        renderer = await self._opened_renderer(fetcher)
        return await renderer.page(
            payload.url, seconds, wait_for=payload.wait_for, binary=binary, compute=context.compute
        )

    async def _opened(self) -> Fetcher:
        async with self._opening:
            if self._fetcher is None:
                self._fetcher = await asyncio.to_thread(_open, self.settings)
            return self._fetcher

    async def _opened_renderer(self, fetcher: Fetcher) -> Renderer:
        async with self._opening:
            if self._renderer is None:
                renderer = await asyncio.to_thread(_open_renderer, self.settings, fetcher)
                await renderer.start()
                self._renderer = renderer
            return self._renderer

    async def close(self) -> None:
        """End the browser, and close the connections."""
        if self._renderer is not None:
            await self._renderer.aclose()
            self._renderer = None
        if self._fetcher is not None:
            await self._fetcher.aclose()
            self._fetcher = None


def _open(settings: Settings) -> Fetcher:
    # The libraries of HTTP would stall the event loop as they load, and a process that scrapes nothing never pays.
    from streams.web.fetch import Fetcher  # noqa: PLC0415

    return Fetcher(settings)


def _open_renderer(settings: Settings, fetcher: Fetcher) -> Renderer:
    try:
        from streams.web.rendered import Renderer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "playwright":
            raise
        raise RenderedUnavailableError("the extra `rendered` is not installed", field="rendered") from None
    return Renderer(settings, fetcher)
