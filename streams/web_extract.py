"""From a page's source to what was asked of it: by selectors, or as an article.

Pure and CPU-bound: callers run it in a thread, and import it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lxml.etree
import structlog
from cssselect import SelectorError
from parsel import Selector
from parsel.csstranslator import HTMLTranslator

from streams.errors import PayloadError

if TYPE_CHECKING:
    from streams.fetch import Page
    from streams.handlers.web import Pick

Compiled = dict[str, tuple[str, "Pick"]]
"""By name: the XPath of a pick, and the pick."""
Value = str | list[str] | None
_translator = HTMLTranslator()
_log = structlog.get_logger()

# What the extractors raise on markup that no browser would write (an element after the document's end, for one).
_EXTRACTION_FAILS = (
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    lxml.etree.LxmlError,
)


def compile_picks(picks: dict[str, Pick]) -> Compiled:
    """Return each pick's XPath beside it.

    Raises:
        PayloadError: a selector can't be read; `field` is `selectors.<name>`.
    """
    return {name: (_xpath(name, pick), pick) for name, pick in picks.items()}


def _xpath(name: str, pick: Pick) -> str:
    field = f"selectors.{name}"
    try:
        xpath = _translator.css_to_xpath(pick.css) if pick.css is not None else pick.xpath or ""
        lxml.etree.XPath(xpath)
    except (SelectorError, lxml.etree.XPathError, ValueError) as error:
        language, text = ("CSS", pick.css) if pick.css is not None else ("XPath", pick.xpath)
        raise PayloadError(f"{text!r} is no {language} selector: {error}", field=field) from None
    return xpath


def select(page: Page, picks: Compiled) -> dict[str, Any]:
    """Return the page's title and language, and under `data` what each selector found.

    A selector that finds nothing gives None, or an empty list where all matches were asked for.

    Raises:
        PayloadError: a selector can't be evaluated (such as an unknown function); `field` is `selectors.<name>`.
    """
    root = Selector(page.text or "<html/>", type="html")
    data = {name: _value(root, name, xpath, pick) for name, (xpath, pick) in picks.items()}
    return {"title": _first(root, "//title"), "language": _language(root, page), "data": data}


def _value(root: Selector, name: str, xpath: str, pick: Pick) -> Value:
    try:
        found = root.xpath(xpath)
    except ValueError as error:
        raise PayloadError(f"can't be evaluated: {error}", field=f"selectors.{name}") from None
    values = [value for value in (_text(node, pick.attr) for node in found) if value is not None]
    if pick.all:
        return values
    return values[0] if values else None


def _text(node: Selector, attr: str | None) -> str | None:
    """Return an element's attribute or its text with runs of space made one; text nodes come as they are."""
    if isinstance(node.root, lxml.etree._Element):  # noqa: SLF001 - lxml exports no public name for it
        return node.attrib.get(attr) if attr else " ".join("".join(node.root.itertext()).split())
    return None if attr else str(node.get())


def article(page: Page) -> dict[str, Any]:
    """Return the title, author, date, language and main text of a page, as far as it has them.

    Where its markup is too broken to tell the main text from the rest, the text is all that the page shows.
    """
    # A quarter of a second, and not every page is read as an article.
    from trafilatura import bare_extraction  # noqa: PLC0415
    from trafilatura.settings import Document  # noqa: PLC0415

    root = Selector(page.text or "<html/>", type="html")
    found: dict[str, Any] = {"title": _first(root, "//title"), "language": _language(root, page)}
    try:
        document = bare_extraction(page.text, url=page.url, include_comments=False, with_metadata=True)
    except _EXTRACTION_FAILS as error:
        _log.warning("article.unreadable", error=repr(error))
        shown = root.xpath("//body//text()[not(ancestor::script or ancestor::style)]").getall()
        return found | {"text": " ".join(" ".join(shown).split()) or None}
    if isinstance(document, Document):
        named = ("title", "author", "date", "text", "language")
        found |= {name: getattr(document, name) for name in named if getattr(document, name)}
    return found


def _first(root: Selector, xpath: str) -> str | None:
    text = " ".join((root.xpath(f"string({xpath})").get() or "").split())
    return text or None


def _language(root: Selector, page: Page) -> str | None:
    return root.xpath("string(/html/@lang)").get() or page.language
