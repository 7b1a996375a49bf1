"""What `web.scrape` runs in a worker, by names that cost nothing to import.

The tier must name what it wants done without loading lxml, parsel and trafilatura (40 MB, half a second), and the
worker must find it without loading the handler.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Wanted(NamedTuple):
    """One selector.

    Attributes:
        css: a CSS selector, or None where `xpath` is given.
        xpath: an XPath 1.0 expression, or None.
        all: every match as a list, not the first alone.
        attr: the attribute to take in place of the text.
    """

    css: str | None
    xpath: str | None
    all: bool
    attr: str | None


def compiled(picks: dict[str, Wanted]) -> dict[str, Wanted]:
    """Return the selectors in XPath; see `web_extract.compiled`."""
    from streams import web_extract  # noqa: PLC0415

    return web_extract.compiled(picks)


def read(source: str, language: str | None, url: str, picks: dict[str, Wanted]) -> tuple[dict[str, Any], str | None]:
    """Return what a page says, by selectors where there are any, and what went wrong when it was read as an article."""
    from streams import web_extract  # noqa: PLC0415

    return (web_extract.select(source, language, picks), None) if picks else web_extract.article(source, language, url)
