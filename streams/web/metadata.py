"""What a page says of itself for machines: JSON-LD, Open Graph, Twitter cards, microdata, links of its head.

Each is read by itself: a broken block of JSON-LD is noted and costs nothing else. RDFa is not read: the libraries for it
fetch vocabularies that a page names.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from schemas.nesting import is_deep
from streams.web.document import inner_text, spaced
from streams.web.microdata import microdata

if TYPE_CHECKING:
    from streams.web.document import Document

MOST_BLOCKS = 100
MOST_JSON_LD = 2**20
MOST_METAS = 500
MOST_LINKS = 200
_LONGEST = 10_000
_FEEDS = ("application/rss+xml", "application/atom+xml", "application/feed+json")
_ICONS = frozenset({"icon", "apple-touch-icon", "apple-touch-icon-precomposed", "mask-icon"})
_JSON_LD = (
    "//script[starts-with(translate(normalize-space(@type), 'ADJLNOPSCIT', 'adjlnopscit'), 'application/ld+json')]"
)
_WRAPPING = re.compile(r"\A\s*(?://\s*)?(?:<!--|<!\[CDATA\[)|(?://\s*)?(?:-->|\]\]>)\s*\Z|;\s*\Z")
_STRING = r'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)'
# Each goes on to the end where its own is missing, so that no text is looked through twice.
_COMMENT = re.compile(_STRING + r"|/\*.*?(?:\*/|\Z)|//[^\n]*", re.DOTALL)
_LAST_COMMA = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)

Texts = dict[str, str | list[str]]


def metadata(document: Document) -> dict[str, Any]:
    """Return what a page says of itself, as `streams.web.result.Metadata` has it."""
    open_graph, twitter, named = _metas(document)
    icons, feeds, canonical = _head_links(document)
    described = named.get("description") or open_graph.get("og:description")
    return {
        "description": described[0] if isinstance(described, list) else described,
        "canonical": canonical,
        "icons": icons,
        "feeds": feeds,
        "open_graph": open_graph,
        "twitter": twitter,
        "meta": named,
        "json_ld": _json_ld(document),
        "microdata": microdata(document),
    }


def feeds_of(document: Document) -> list[dict[str, Any]]:
    """Return the feeds that a page names."""
    return _head_links(document)[1]


def _metas(document: Document) -> tuple[Texts, Texts, Texts]:
    """Return Open Graph and whatever else has a `property`, Twitter cards, and what else has a name."""
    open_graph: Texts = {}
    twitter: Texts = {}
    named: Texts = {}
    elements = document.root.xpath("//meta[@content][@property or @name]")
    if len(elements) > MOST_METAS:
        document.notes.append(f"only the first {MOST_METAS} <meta> were taken")
    for element in elements[:MOST_METAS]:
        name = (element.get("property") or element.get("name") or "").strip()
        if not name:
            continue
        content = spaced(element.get("content"))[:_LONGEST]
        if name.lower().startswith("twitter:"):
            _add(twitter, name, content)
        elif element.get("property"):
            _add(open_graph, name, content)
        else:
            _add(named, name.lower(), content)
    return open_graph, twitter, named


def _add(texts: Texts, name: str, text: str) -> None:
    """Put a text in; where a name comes again, its texts are a list."""
    before = texts.get(name)
    if before is None:
        texts[name] = text
    elif isinstance(before, list):
        before.append(text)
    else:
        texts[name] = [before, text]


def _head_links(document: Document) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]:
    """Return icons, feeds, and the address that the page calls its own."""
    icons, feeds, canonical = [], [], None
    for element in islice(document.root.iter("link"), MOST_LINKS):
        url = document.absolute(element.get("href"))
        rel = frozenset((element.get("rel") or "").lower().split())
        if url is None:
            continue
        kind = (element.get("type") or "").partition(";")[0].strip().lower() or None
        if "canonical" in rel:
            canonical = canonical or url
        if rel & _ICONS:
            icons.append({"url": url, "type": kind, "sizes": element.get("sizes")})
        if "alternate" in rel and kind in _FEEDS:
            feeds.append({"url": url, "type": kind, "title": element.get("title")})
    return icons, feeds, canonical


def _json_ld(document: Document) -> list[dict[str, Any]]:
    """Return the objects of all blocks of JSON-LD that can be read."""
    found: list[dict[str, Any]] = []
    left = MOST_JSON_LD
    for number, block in enumerate(document.root.xpath(_JSON_LD), 1):
        text = inner_text(block)
        left -= len(text)
        if number > MOST_BLOCKS or left < 0:
            document.notes.append(f"JSON-LD from block {number} on is left out")
            break
        if not text.strip():
            continue
        try:
            said = _mended(_WRAPPING.sub("", text.strip().strip("\ufeff")))
        except ValueError as error:
            document.notes.append(f"JSON-LD {number} can't be read: {error}"[:300])
            continue
        objects = said if isinstance(said, list) else [said]
        found += [each for each in objects if isinstance(each, dict)]
    return found


def _mended(text: str) -> Any:
    """Read a page's JSON; where it is none, without the comments and last commas that JavaScript allows.

    Raises:
        ValueError: it is none even so.
    """
    try:
        return _json(text)
    except ValueError as error:
        mended = _LAST_COMMA.sub(r"\1", _COMMENT.sub(r"\1", text))
        if mended == text:
            raise
        try:
            return _json(mended)
        except ValueError:
            raise error from None


def _json(text: str) -> Any:
    """Read a page's JSON, which may hold line ends in its strings, but nothing that a record could not carry.

    Raises:
        ValueError: it is none, or nests too deeply.
    """
    try:
        said = json.loads(text, strict=False, parse_constant=_refuse)
        in_result = [[[said]]]  # as deep as it will lie
        deep = is_deep(json.dumps(in_result, ensure_ascii=False, allow_nan=False).encode(), in_result)
    except RecursionError:
        deep = True
    if deep:
        raise ValueError("it nests too deeply")
    return said


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
