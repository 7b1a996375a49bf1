"""From a page to what a mode makes of it: the one place where modes meet the modules that do them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.web.article import article
from streams.web.document import parse
from streams.web.feed import feed
from streams.web.links import links
from streams.web.metadata import metadata
from streams.web.selectors import select
from streams.web.tables import tables
from streams.web.work import Mode

if TYPE_CHECKING:
    from streams.web.work import Source, Wanted


def read(source: Source, mode: Mode, picks: dict[str, Wanted]) -> dict[str, Any]:
    """Return what a page says; see `work.read`."""
    if mode is Mode.FEED:
        found, notes = feed(*source)
        title, language = found["title"], found["language"] or source.language
        return {"title": title, "language": language, "feed": found, "notes": notes}
    document = parse(source.text, source.content_type, source.url)
    said: dict[str, Any] = {"title": document.title, "language": document.language or source.language}
    match mode:
        case Mode.SELECTORS:
            said["data"] = select(document, picks)
        case Mode.ARTICLE:
            said |= article(document, source.text, source.url)
        case Mode.METADATA:
            said["metadata"] = metadata(document)
        case Mode.LINKS:
            said["links"] = links(document)
        case Mode.TABLES:
            said["tables"] = tables(document)
    said["notes"] = document.notes
    return said
