"""A page's source as a tree, with what all modes ask of one: its title, its language, and whole addresses.

Pure and CPU-bound, on pages of strangers: all of `streams.web` but the fetching runs where it can be killed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import lxml.etree

_XML = re.compile(r"(text|application)/xml|application/(?!xhtml\+)[\w.-]+\+xml", re.IGNORECASE)
_BREAKS = re.compile(r"<br\s*/?>|</(?:p|div|li|h[1-6]|tr|dd|dt|blockquote|pre|section|article)\s*>", re.IGNORECASE)

# U+D800 to U+DFFF, in hexadecimal and decimal.
_HALF = re.compile(
    r"&(?:amp;)?#(?:[xX]0*[dD][89a-fA-F][\da-fA-F]{2}|0*5(?:529[6-9]|5[3-9]\d\d|6\d{3}|7[0-2]\d\d|73[0-3]\d|734[0-3]));"
)

inner_text = lxml.etree.XPath("string()", smart_strings=False)
"""All text in an element as it stands, without comments."""


@dataclass(frozen=True, slots=True)
class Document:
    """A page that was parsed.

    Attributes:
        root: its outermost element.
        xml: whether it is XML and not HTML; then its names have no namespaces.
        base: the address that those in it are relative to.
        notes: what was wrong with it, and what was left out for its size; readers of its parts add to it.
    """

    root: lxml.etree._Element
    xml: bool
    base: str
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str | None:
        """The first title in the page."""
        return first(self.root, "//title[not(ancestor::svg)]")

    @property
    def language(self) -> str | None:
        """What the page says that it is written in."""
        return first(self.root, "/*/@lang")

    def absolute(self, address: str | None) -> str | None:
        """Return an address in the page as a whole one; None where there is none or it can't be read."""
        if not address or not address.strip():
            return None
        try:
            return urljoin(self.base, address.strip())
        except ValueError:
            return None


def parse(source: str, content_type: str, url: str) -> Document:
    """Return a page as a tree, however broken it is.

    Args:
        source: the page's text.
        content_type: its media type.
        url: where it was found in the end.
    """
    xml = _XML.fullmatch(content_type) is not None
    if xml:
        source = whole_characters(source)
    data = source.replace("\0", "").strip().encode()
    # What a page may not do: fetch, grow by entities of its own, or read files.
    parser = (
        lxml.etree.XMLParser(
            recover=True, encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
        if xml
        else _html_parser()
    )
    try:
        root = lxml.etree.fromstring(data, parser) if data else None
    except lxml.etree.XMLSyntaxError:
        root = None  # nothing in it could be mended
    cut = any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log)
    if root is None:
        root = lxml.etree.Element("html")
    if xml:
        _drop_namespaces(root)
    notes = ["it nests deeper, or grows larger, than a page may: the rest was not read"] if cut else []
    return Document(root, xml, _base(root, url), notes)


def first(root: lxml.etree._Element, xpath: str) -> str | None:
    """Return the text of what an expression finds first, with runs of space made one; None where that is empty."""
    return spaced(root.xpath(f"string({xpath})", smart_strings=False)) or None


def whole_characters(source: str) -> str:
    """Return XML without references to halves of characters (surrogates), which its parsers take and nobody can write."""
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", source)


def spaced(text: str) -> str:
    """Return a text with runs of space made one."""
    return " ".join(text.split())


def plain(markup: str) -> str:
    """Return the text of a piece of HTML, a line for each block."""
    data = _BREAKS.sub(r"\g<0>&#10;", markup).replace("\0", "").strip().encode()
    root = lxml.etree.fromstring(data, _html_parser()) if data else None
    if root is None:
        return ""
    lines = (spaced(line) for line in inner_text(root).splitlines())
    return "\n".join(line for line in lines if line)


def is_web(address: str) -> bool:
    """Whether a whole address is one that could be fetched."""
    try:
        return urlsplit(address).scheme in {"http", "https"}
    except ValueError:
        return False


def _html_parser() -> lxml.etree.HTMLParser:
    return lxml.etree.HTMLParser(recover=True, encoding="utf-8", no_network=True, huge_tree=True)


def _base(root: lxml.etree._Element, url: str) -> str:
    """Return what the page's addresses are relative to: its `<base>`, where that is on the web."""
    for href in root.xpath("//base/@href", smart_strings=False)[:1]:
        with suppress(ValueError):
            base = urljoin(url, str(href).strip())
            return base if is_web(base) else url
    return url


def _drop_namespaces(root: lxml.etree._Element) -> None:
    """Leave the local names alone, which is what selectors name, also of prefixes that nobody declared."""
    for element in root.iter(lxml.etree.Element):
        with suppress(ValueError):  # broken XML has names that are none: those stay
            element.tag = _local(element.tag)
        for name in list(element.attrib):
            local = _local(name)
            if local not in element.attrib:
                with suppress(ValueError):
                    element.set(local, element.attrib[name])
                    del element.attrib[name]


def _local(name: str) -> str:
    return name.rpartition("}")[2].rpartition(":")[2] or name
