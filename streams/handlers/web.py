"""`web.scrape`: a page's text as an article, or what CSS and XPath selectors find in it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.tiers import Tier
from streams.handlers.port import Context, Handler
from streams.web_work import Wanted, compiled, read

if TYPE_CHECKING:
    from typing import Self

    from backbone.settings import Settings
    from streams.fetch import Fetcher

_log = structlog.get_logger()
_SelectorText = Annotated[str, Field(min_length=1, max_length=2000)]


class Mode(StrEnum):
    """How a page is read."""

    ARTICLE = "article"
    SELECTORS = "selectors"


class Pick(BaseModel):
    """One selector: exactly one of `css` and `xpath`.

    Attributes:
        all: every match as a list, not the first alone.
        attr: the attribute to take in place of the text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    css: _SelectorText | None = None
    xpath: _SelectorText | None = None
    all: bool = False
    attr: str | None = None

    @model_validator(mode="after")
    def _one_language(self) -> Self:
        if (self.css is None) == (self.xpath is None):
            raise ValueError("give exactly one of css and xpath")
        return self


class ScrapePayload(BaseModel):
    """What to read, and how.

    Attributes:
        url: an http or https address of the public web.
        selectors: name -> a CSS selector, or a `Pick`.
        mode: `selectors` where there are any, else `article`.
        timeout: seconds for the whole fetch; the task's own deadline is kept as well.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://example.com/", "selectors": {"title": "h1"}}]}
    )

    url: Annotated[str, Field(min_length=1, max_length=8000)]
    selectors: Annotated[dict[str, _SelectorText | Pick], Field(min_length=1, max_length=100)] | None = None
    mode: Mode | None = None
    timeout: Annotated[float, Field(gt=0, le=30)] = 20.0

    @model_validator(mode="after")
    def _mode_has_what_it_needs(self) -> Self:
        if self.mode is Mode.SELECTORS and self.selectors is None:
            raise ValueError("mode `selectors` needs selectors")
        return self

    @property
    def picks(self) -> dict[str, Pick]:
        """The selectors to evaluate; empty where the page is read as an article."""
        if self.mode is Mode.ARTICLE:
            return {}
        return {
            name: Pick(css=pick) if isinstance(pick, str) else pick for name, pick in (self.selectors or {}).items()
        }


class ScrapeResult(BaseModel):
    """What the page said; `data` holds what the selectors found, the rest what the page says of itself.

    Attributes:
        final_url: where the redirects led.
        status: HTTP status, below 500 (others are tried again).
        content_type: its media type.
        charset: how its bytes were read.
        fetched_at: when the run began.
    """

    url: str
    final_url: str
    status: int
    content_type: str
    charset: str
    fetched_at: datetime
    title: str | None = None
    text: str | None = None
    author: str | None = None
    date: str | None = None
    language: str | None = None
    data: dict[str, str | list[str] | None] | None = None


class WebScrape(Handler[ScrapePayload, ScrapeResult]):
    """Read a page of the web."""

    kind = "web.scrape"
    tier = Tier.REALTIME
    payload = ScrapePayload
    result = ScrapeResult

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._fetcher: Fetcher | None = None
        self._opening = asyncio.Lock()

    async def run(self, payload: ScrapePayload, context: Context) -> ScrapeResult:
        """Fetch the page, and read it where that can be stopped.

        Raises:
            PayloadError: a selector can't be read or evaluated; the field is `selectors.<name>`.
            AddressRefusedError: the address may not be reached from here.
            FetchError: the address did not answer as it should.
        """
        picks = {name: Wanted(pick.css, pick.xpath, pick.all, pick.attr) for name, pick in payload.picks.items()}
        if picks:  # before the fetch: a selector that can't be read must not cost one
            picks = await context.compute(compiled, picks)
        fetcher = await self._opened()
        left = (context.deadline - context.now).total_seconds()
        page = await fetcher.page(payload.url, min(payload.timeout, left))
        found, failure = await context.compute(read, page.text, page.language, page.url, picks)
        if failure:
            _log.warning("web.article_unreadable", task=context.task_id, error=failure)
        return ScrapeResult(
            url=payload.url,
            final_url=page.url,
            status=page.status,
            content_type=page.content_type,
            charset=page.charset,
            fetched_at=context.now,
            **found,
        )

    async def _opened(self) -> Fetcher:
        async with self._opening:
            if self._fetcher is None:
                self._fetcher = await asyncio.to_thread(_open, self.settings)
            return self._fetcher

    async def close(self) -> None:
        """Close the connections."""
        if self._fetcher is not None:
            await self._fetcher.aclose()
            self._fetcher = None


def _open(settings: Settings) -> Fetcher:
    # The libraries of HTTP would stall the event loop as they load, and a process that scrapes nothing never pays.
    from streams.fetch import Fetcher  # noqa: PLC0415

    return Fetcher(settings)
