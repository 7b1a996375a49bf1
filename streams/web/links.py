"""The links of a page: whole addresses of the web, each once, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.web.document import inner_text, is_web, spaced

if TYPE_CHECKING:
    from streams.web.document import Document

MOST_LINKS = 10_000
_MOST_TEXT = 500


def links(document: Document) -> list[dict[str, Any]]:
    """Return each address that the page links to, with the first text that it has and all that `rel` says of it.

    What leads within the page alone (`#top`) is left out, as is what is no address of the web (`mailto:`).
    """
    found: dict[str, dict[str, Any]] = {}
    unreadable = 0
    for element in document.root.xpath("//a[@href] | //area[@href]"):
        href = element.get("href").strip()
        if not href or href.startswith("#"):
            continue
        url = document.absolute(href)
        if url is None:
            unreadable += 1
            continue
        if not is_web(url):
            continue
        if url not in found and len(found) == MOST_LINKS:
            document.notes.append(f"only the first {MOST_LINKS:,} links were taken")
            break
        link = found.setdefault(url, {"url": url, "text": "", "rel": []})
        link["text"] = link["text"] or _label(element)
        link["rel"] += [rel for rel in (element.get("rel") or "").lower().split() if rel not in link["rel"]]
    if unreadable:
        document.notes.append(f"links without an address that can be read: {unreadable}")
    return list(found.values())


def _label(element: Any) -> str:
    """Return what a reader sees or hears of a link: its text, else the text that stands for its picture."""
    text = spaced(inner_text(element)) or element.get("aria-label") or element.get("title")
    if not text:
        text = next(iter(element.xpath(".//img/@alt", smart_strings=False)), "") or element.get("alt") or ""
    return spaced(text)[:_MOST_TEXT]
