"""A feed in the terms of JSON Feed 1.1, whichever format it is written in: RSS, RDF, Atom (by feedparser) or JSON Feed.

What a feed declares of entities is dropped before it is parsed; its HTML is sanitized by feedparser.
"""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import lxml.etree

from streams.errors import PageUnreadableError
from streams.web.document import is_web, parse, plain, whole_characters
from streams.web.metadata import feeds_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from time import struct_time

    from streams.web.document import Document

MOST_ITEMS = 1_000
_MOST_ATTACHED = 50
_MOST_TEXT = 200_000
_ROOT = re.compile(r"<(?:[\w.-]{1,40}:)?(?:rss|feed|rdf|channel)\b", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE", re.IGNORECASE)
_FAILS = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError, lxml.etree.LxmlError)


def feed(source: str, content_type: str, language: str | None, url: str) -> tuple[dict[str, Any], list[str]]:
    """Return a feed and notes of what was wrong with it.

    Args:
        source: the feed's text.
        content_type: its media type.
        language: what its server says that it is written in.
        url: where it was found in the end, which its addresses are relative to.

    Raises:
        PageUnreadableError: it is no feed; tells which ones the page names, if it is a page.
    """
    source = whole_characters(source.lstrip("\ufeff \t\r\n"))  # XML's declaration may have nothing before it
    try:
        return _of_json(source, url) if source.startswith("{") else _of_xml(source, language, url)
    except _FAILS as error:
        raise _refusal(source, content_type, url, f" ({type(error).__name__})") from None
    except _NoFeedError:
        raise _refusal(source, content_type, url, "") from None


class _NoFeedError(Exception):
    """It is no feed."""


def _refusal(source: str, content_type: str, url: str, why: str) -> PageUnreadableError:
    named = [each["url"] for each in feeds_of(parse(source, content_type, url))][:5]
    said = f"; it names these: {', '.join(named)}" if named else ""
    return PageUnreadableError(f"{content_type} that is no feed{why}{said}"[:1000], field="mode")


def _of_xml(source: str, language: str | None, url: str) -> tuple[dict[str, Any], list[str]]:
    import feedparser  # noqa: PLC0415 - not every worker reads feeds

    root = _ROOT.search(source)
    if root is None:  # which feedparser would look for in a large page for minutes
        raise _NoFeedError
    if _DOCTYPE.search(source, 0, root.start()):
        source = source[root.start() :]
    headers = {"content-type": "application/xml; charset=utf-8", "content-location": url}
    if language:
        headers["content-language"] = language
    found = feedparser.parse(io.BytesIO(source.encode()), response_headers=headers)
    about, entries = found.feed, found.entries
    if not found.version and not entries:
        raise _NoFeedError
    notes = []
    if found.bozo:
        notes.append(f"its XML is broken: {found.get('bozo_exception')}"[:300])
    result = {
        "format": found.version or "unknown",
        "title": _plain(about.get("title")),
        "home_page_url": _address(about.get("link")),
        "description": _plain(about.get("subtitle")),
        "language": about.get("language") or None,
        "items": _bounded(entries, partial(_entry, base=parse("", "text/html", url)), notes),
    }
    return result, notes


def _entry(entry: Any, base: Document) -> dict[str, Any]:
    contents = [each.get("value") or "" for each in entry.get("content", ())]
    html = next(filter(None, contents), None) or entry.get("summary") or None
    summary = entry.get("summary") if any(contents) else None
    summary = None if summary == html else summary  # where a feed has none, feedparser takes the content
    return {
        "id": entry.get("id") or entry.get("link") or None,
        "url": _address(entry.get("link")),
        "title": _plain(entry.get("title")),
        "date_published": _date(entry.get("published_parsed")),
        # Not feedparser's own `get`, which gives the other date where there is none.
        "date_modified": _date(dict.get(entry, "updated_parsed")),
        "authors": _names(each.get("name") or each.get("email") for each in entry.get("authors", ())),
        "tags": _names(each.get("term") for each in entry.get("tags", ())),
        "summary": _plain(summary),
        "content_text": _plain(html),
        "content_html": html[:_MOST_TEXT] if html else None,
        "attachments": [
            {"url": href, "mime_type": each.get("type") or None}
            for each in entry.get("enclosures", ())[:_MOST_ATTACHED]
            if (href := _address(base.absolute(each.get("href"))))  # of RSS, feedparser leaves it as it is
        ],
    }


def _of_json(source: str, url: str) -> tuple[dict[str, Any], list[str]]:
    from feedparser.sanitizer import _sanitize_html  # noqa: PLC0415 - what it does to the other formats

    said = json.loads(source, strict=False)
    said = json.loads(json.dumps(said, ensure_ascii=False).encode("utf-8", "replace"))  # without halves of characters
    if not isinstance(said, dict) or "jsonfeed.org/version/" not in str(said.get("version")):
        raise _NoFeedError
    if not isinstance(said.get("items"), list):
        raise _NoFeedError
    base = parse("", "text/html", url)
    notes: list[str] = []

    def item(entry: Any) -> dict[str, Any]:
        html = _sanitize_html(_string(entry.get("content_html")) or "", "utf-8", "text/html") or None
        authors = _objects(entry.get("authors")) or _objects([entry.get("author")])
        return {
            "id": str(entry.get("id") or entry.get("url") or "") or None,
            "url": _address(base.absolute(_string(entry.get("url")))),
            "title": _string(entry.get("title")),
            "date_published": _iso(entry.get("date_published")),
            "date_modified": _iso(entry.get("date_modified")),
            "authors": _names(each.get("name") for each in authors),
            "tags": _names(entry.get("tags") or ()),
            "summary": _string(entry.get("summary")),
            "content_text": _string(entry.get("content_text")) or _plain(html),
            "content_html": html[:_MOST_TEXT] if html else None,
            "attachments": [
                {"url": href, "mime_type": _string(each.get("mime_type"))}
                for each in _objects(entry.get("attachments"))[:_MOST_ATTACHED]
                if (href := _address(base.absolute(_string(each.get("url")))))
            ],
        }

    result = {
        "format": "json",
        "title": _string(said.get("title")),
        "home_page_url": _address(base.absolute(_string(said.get("home_page_url")))),
        "description": _string(said.get("description")),
        "language": _string(said.get("language")),
        "items": _bounded(_objects(said.get("items")), item, notes),
    }
    return result, notes


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _bounded(entries: list[Any], item: Callable[[Any], dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    if len(entries) > MOST_ITEMS:
        notes.append(f"only the first {MOST_ITEMS:,} of {len(entries):,} items were taken")
    return [item(entry) for entry in entries[:MOST_ITEMS]]


def _plain(markup: str | None) -> str | None:
    if not markup:
        return None
    text = plain(markup) if "<" in markup or "&" in markup else " ".join(markup.split())
    return text[:_MOST_TEXT] or None


def _string(value: Any) -> str | None:
    return value[:_MOST_TEXT] if isinstance(value, str) and value else None


def _names(values: Any) -> list[str]:
    return list(dict.fromkeys(value[:500] for value in values if isinstance(value, str) and value))[:_MOST_ATTACHED]


def _address(url: str | None) -> str | None:
    return url if url and is_web(url) else None


def _date(parsed: struct_time | None) -> str | None:
    """Return a time that feedparser read, which is in UTC, by ISO 8601."""
    if parsed is None:
        return None
    try:
        return datetime(*parsed[:5], min(parsed[5], 59), tzinfo=UTC).isoformat()
    except ValueError:
        return None


def _iso(text: Any) -> str | None:
    """Return a time of JSON Feed (RFC 3339) in UTC."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError):
        return None
