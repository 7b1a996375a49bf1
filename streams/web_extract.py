"""From a page's source to what was asked of it: by selectors, or as an article.

Pure and CPU-bound, on pages and selectors of strangers: it runs in a process that can be killed (`web_work` names it).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import lxml.etree
from cssselect import SelectorError
from parsel import Selector
from parsel.csstranslator import HTMLTranslator

from streams.errors import PayloadError

if TYPE_CHECKING:
    from streams.web_work import Wanted

Value = str | list[str] | None
_translator = HTMLTranslator()
_LITERAL = re.compile(r""""[^"]*"|'[^']*'""")
_REGULAR_EXPRESSION = re.compile(r"(?<![\w.-])re:")

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


def compiled(picks: dict[str, Wanted]) -> dict[str, Wanted]:
    """Return the selectors in XPath.

    Raises:
        PayloadError: a selector can't be read, or wants regular expressions; `field` is `selectors.<name>`.
    """
    return {name: pick._replace(css=None, xpath=_xpath(name, pick)) for name, pick in picks.items()}


def _xpath(name: str, pick: Wanted) -> str:
    field = f"selectors.{name}"
    language, text = ("CSS", pick.css) if pick.css is not None else ("XPath", pick.xpath or "")
    try:
        xpath: str = _translator.css_to_xpath(text) if language == "CSS" else text
        lxml.etree.XPath(xpath)
    except (SelectorError, lxml.etree.XPathError, ValueError, RecursionError) as error:
        raise PayloadError(f"{text!r} is no {language} selector: {error}", field=field) from None
    if _REGULAR_EXPRESSION.search(_LITERAL.sub("''", xpath)):
        # A pattern such as (a+)+$ takes for ever.
        raise PayloadError(
            "regular expressions (`re:`) are not evaluated here: take contains(), starts-with() or translate(),"
            " or match in what you get",
            field=field,
        )
    return xpath


def select(source: str, header_language: str | None, picks: dict[str, Wanted]) -> dict[str, Any]:
    """Return the page's title and language, and under `data` what each selector found.

    A selector that finds nothing gives None, or an empty list where all matches were asked for.

    Args:
        source: the page.
        header_language: what its server says that it is written in.
        picks: selectors by name, as `compiled` returns them.

    Raises:
        PayloadError: a selector can't be evaluated (such as an unknown function); `field` is `selectors.<name>`.
    """
    root = Selector(source or "<html/>", type="html")
    root.namespaces.pop("re")  # what stands for the refusal above, should it be got around
    data = {name: _value(root, name, pick) for name, pick in picks.items()}
    return {"title": _first(root, "//title"), "language": _language(root) or header_language, "data": data}


def _value(root: Selector, name: str, pick: Wanted) -> Value:
    try:
        found = root.xpath(pick.xpath or "")
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


def article(source: str, header_language: str | None, url: str) -> tuple[dict[str, Any], str | None]:
    """Return the title, author, date, language and main text of a page, as far as it has them, and what went wrong.

    Where its markup is too broken to tell the main text from the rest, the text is all that the page shows.
    """
    # A quarter of a second, and not every page is read as an article.
    from trafilatura import bare_extraction  # noqa: PLC0415
    from trafilatura.settings import Document  # noqa: PLC0415

    root = Selector(source or "<html/>", type="html")
    found: dict[str, Any] = {"title": _first(root, "//title"), "language": _language(root) or header_language}
    try:
        document = bare_extraction(source, url=url, include_comments=False, with_metadata=True)
    except _EXTRACTION_FAILS as error:
        shown = root.xpath("//body//text()[not(ancestor::script or ancestor::style)]").getall()
        return found | {"text": " ".join(" ".join(shown).split()) or None}, type(error).__name__
    if isinstance(document, Document):
        named = ("title", "author", "date", "text", "language")
        found |= {name: getattr(document, name) for name in named if getattr(document, name)}
    return found, None


def _first(root: Selector, xpath: str) -> str | None:
    text = " ".join((root.xpath(f"string({xpath})").get() or "").split())
    return text or None


def _language(root: Selector) -> str | None:
    return root.xpath("string(/html/@lang)").get() or None
