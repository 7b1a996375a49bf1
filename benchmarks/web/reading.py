"""Each mode beside the bare library that people would read the same from the same page with.

The bare side does what its users write, no more: no bounds, no notes, no title and language beside what was asked for.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import feedparser
import lxml.html
import trafilatura
from extruct import extract
from parsel import Selector

from benchmarks.web import pages
from streams.web.work import Mode, Source, Wanted, read

if TYPE_CHECKING:
    from collections.abc import Callable

OFFERS = {
    "offers": Wanted(
        ".offer",
        None,
        each={
            "name": Wanted("h2", None),
            "price": Wanted(".price span", None),
            "page": Wanted("h2 a", None, attr="href", url=True),
        },
    )
}


class Pair(NamedTuple):
    """The same work on both sides.

    Attributes:
        what: is read.
        peer_name: the library.
        ours: reads the page once.
        peer: likewise.
    """

    what: str
    peer_name: str
    ours: Callable[[], Any]
    peer: Callable[[], Any]


def pairs() -> list[Pair]:
    """Return what is compared."""
    listing, story, table = pages.listing(), pages.story(), pages.table()
    described, feed = pages.described(), pages.feed()
    return [
        _pair(Mode.SELECTORS, listing, "parsel", _offers),
        _pair(Mode.ARTICLE, story, "trafilatura", _story),
        _pair(Mode.METADATA, described, "extruct", _described),
        _pair(Mode.LINKS, listing, "lxml", _links),
        _pair(Mode.TABLES, table, "lxml", _tables),
        _pair(Mode.FEED, feed, "feedparser", _feed),
    ]


def rate(work: Callable[[], Any], seconds: float) -> float:
    """Return how often a CPU-second does some work, measured over at least so many seconds of CPU."""
    count, began = 0, time.process_time()
    while (used := time.process_time() - began) < seconds:
        work()
        count += 1
    return count / used


def source(page: str) -> Source:
    """Return a page as it comes from the fetcher."""
    return Source(page, "text/html", None, pages.URL)


def _pair(mode: Mode, page: str, library: str, peer: Callable[[str], Any]) -> Pair:
    picks = OFFERS if mode is Mode.SELECTORS else {}
    what = f"{mode}: a page of {len(page.encode()) / 1024:.0f} KiB, pages a CPU-second"
    return Pair(what, library, lambda: read(source(page), mode, picks), lambda: peer(page))


def _offers(page: str) -> list[dict[str, Any]]:
    return [
        {
            "name": " ".join("".join(offer.css("h2 ::text").getall()).split()),
            "price": offer.css(".price span::text").get(),
            "page": urljoin(pages.URL, offer.css("h2 a::attr(href)").get() or ""),
        }
        for offer in Selector(page).css(".offer")
    ]


def _story(page: str) -> Any:
    return trafilatura.bare_extraction(page, url=pages.URL, include_comments=False, with_metadata=True)


def _described(page: str) -> Any:
    return extract(page, base_url=pages.URL, syntaxes=["json-ld", "opengraph", "microdata"])


def _links(page: str) -> list[tuple[str, str]]:
    root = lxml.html.fromstring(page)
    root.make_links_absolute(pages.URL)
    return [(link.get("href"), link.text_content().strip()) for link in root.iter("a")]


def _tables(page: str) -> list[list[list[str]]]:
    tables = lxml.html.fromstring(page).iter("table")
    return [[[cell.text_content().strip() for cell in row] for row in table.iter("tr")] for table in tables]


def _feed(page: str) -> Any:
    return feedparser.parse(io.BytesIO(page.encode()))
