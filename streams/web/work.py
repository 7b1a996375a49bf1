"""What `web.scrape` runs in a worker, by names that cost nothing to import.

The tier must name what it wants done without loading lxml, parsel and trafilatura (40 MB, half a second), and the
worker must find it without loading the handler.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class Mode(StrEnum):
    """How a page is read."""

    SELECTORS = "selectors"
    ARTICLE = "article"
    METADATA = "metadata"
    LINKS = "links"
    TABLES = "tables"
    FEED = "feed"
    RAW = "raw"


class Wanted(NamedTuple):
    """One selector.

    Attributes:
        css: a CSS selector, or None where `xpath` is given.
        xpath: an XPath 1.0 expression, or None.
        all: every match as a list, not the first alone.
        attr: the attribute to take in place of the text.
        url: whether what it finds is an address, to be made whole.
        each: selectors by name that make an object of every match.
    """

    css: str | None
    xpath: str | None
    all: bool = False
    attr: str | None = None
    url: bool = False
    each: dict[str, Wanted] | None = None


class Source(NamedTuple):
    """A page as it was fetched.

    Attributes:
        text: its source.
        content_type: media type without parameters.
        language: what the `Content-Language` header says.
        url: where it was found in the end.
    """

    text: str
    content_type: str
    language: str | None
    url: str


def check(picks: dict[str, Wanted]) -> None:
    """Refuse selectors that can't be read; see `selectors.check`."""
    from streams.web import selectors  # noqa: PLC0415

    selectors.check(picks)


def read(source: Source, mode: Mode, picks: dict[str, Wanted]) -> dict[str, Any]:
    """Return what a page says in any mode but `raw`, as the fields of `ScrapeResult` that the mode fills.

    Raises:
        PayloadError: a selector can't be evaluated; `field` is its path.
        PageUnreadableError: the page is nothing that the mode could read.
    """
    from streams.web import reading  # noqa: PLC0415

    return reading.read(source, mode, picks)
