"""What CSS and XPath selectors find in a page: texts, attributes, and lists of objects.

A selector with others in `each` makes an object of every match, whose values the others find from there. All are XPath
once they are evaluated. Regular expressions are refused: a pattern such as `(a+)+$` takes for ever.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import lxml.etree
from cssselect import SelectorError
from parsel.csstranslator import GenericTranslator, HTMLTranslator

from streams.errors import PayloadError
from streams.web.document import inner_text, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.web.document import Document
    from streams.web.work import Wanted

MOST_VALUES = 200_000
"""Values, empty ones and objects among them: a page of a million elements, each an object, stops whoever reads them."""

Value = str | list[str] | None | list[dict[str, "Value"]]

_LITERAL = re.compile(r""""[^"]*"|'[^']*'""")
_REGULAR_EXPRESSION = re.compile(r"(?<![\w.-])re:")
_NAMESPACES = {"set": "http://exslt.org/sets"}


def check(picks: Mapping[str, Wanted]) -> None:
    """Refuse selectors that can't be read, before a page is fetched for them.

    Raises:
        PayloadError: one can't be read, or wants regular expressions; `field` is its path, such as `selectors.items`.
    """
    _compiled(picks, xml=False, field="selectors")


def select(document: Document, picks: Mapping[str, Wanted]) -> dict[str, Value]:
    """Return what each selector found.

    One that finds nothing gives None, or an empty list where all matches were asked for.

    Args:
        document: the page.
        picks: selectors by name.

    Raises:
        PayloadError: a selector can't be evaluated (such as an unknown function); `field` is its path.
    """
    compiled = _compiled(picks, xml=document.xml, field="selectors")
    evaluation = _Evaluation(document)
    return {name: evaluation.value(document.root, pick) for name, pick in compiled.items()}


class _Pick(NamedTuple):
    """A selector that is ready to be evaluated."""

    find: lxml.etree.XPath
    wanted: Wanted
    each: dict[str, _Pick] | None
    field: str


def _compiled(picks: Mapping[str, Wanted], *, xml: bool, field: str) -> dict[str, _Pick]:
    return {name: _pick(pick, xml, f"{field}.{name}") for name, pick in picks.items()}


def _pick(pick: Wanted, xml: bool, field: str) -> _Pick:
    each = None if pick.each is None else _compiled(pick.each, xml=xml, field=f"{field}.each")
    if pick.attr is not None:
        _check_name(pick.attr, f"{field}.attr")
    language, text = ("CSS", pick.css) if pick.css is not None else ("XPath", pick.xpath or "")
    try:
        xpath = _translator(xml).css_to_xpath(text) if language == "CSS" else text
        find = lxml.etree.XPath(xpath, namespaces=_NAMESPACES, regexp=False, smart_strings=False)
    except (SelectorError, lxml.etree.XPathError, ValueError, RecursionError) as error:
        raise PayloadError(f"{text!r} is no {language} selector: {error}", field=field) from None
    if _REGULAR_EXPRESSION.search(_LITERAL.sub("''", xpath)):
        raise PayloadError(
            "regular expressions (`re:`) are not evaluated here: take contains(), starts-with() or translate(),"
            " or match in what you get",
            field=field,
        )
    return _Pick(find, pick, each, field)


def _check_name(attr: str, field: str) -> None:
    try:
        lxml.etree.Element("any").get(attr)
    except ValueError:
        raise PayloadError(f"{attr!r} is no name of an attribute", field=field) from None


@cache
def _translator(xml: bool) -> GenericTranslator | HTMLTranslator:
    """HTML's names are the same in any case, XML's are not."""
    return GenericTranslator() if xml else HTMLTranslator()


class _Evaluation:
    """Finds values in a page, as many as there may be."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MOST_VALUES

    def value(self, root: lxml.etree._Element, pick: _Pick) -> Value:
        try:
            found = pick.find(root)
        except (lxml.etree.XPathError, ValueError) as error:
            raise PayloadError(f"can't be evaluated: {error}", field=pick.field) from None
        nodes = found if isinstance(found, list) else [found]
        if pick.each is not None:
            return [
                {name: self.value(node, inner) for name, inner in pick.each.items()}
                for node in nodes
                if _is_element(node) and self._take(1 + len(pick.each))
            ]
        values = self._texts(nodes, pick.wanted)
        return [value for value in values if self._take(1)] if pick.wanted.all else next(values, None)

    def _take(self, values: int) -> bool:
        """Whether there may be so many more values."""
        if 0 <= self._left < values:
            self._document.notes.append(f"only the first {MOST_VALUES:,} values were taken")
        self._left -= values
        return self._left >= 0

    def _texts(self, nodes: list[object], wanted: Wanted) -> Iterator[str]:
        for node in nodes:
            text = _text(node, wanted.attr)
            if wanted.url:
                text = self._document.absolute(text)
            if text is not None:
                yield text


def _text(node: object, attr: str | None) -> str | None:
    """Return an element's attribute, or its text with runs of space made one; other values come as they are."""
    if _is_element(node):
        return node.get(attr) if attr else spaced(inner_text(node))
    if attr:
        return None
    if isinstance(node, lxml.etree._Element):  # noqa: SLF001 - a comment, a processing instruction, an entity
        return node.text or ""
    return str(int(node)) if isinstance(node, bool) else str(node)


def _is_element(node: object) -> TypeGuard[lxml.etree._Element]:
    """Whether a node is one with a name; lxml has comments and the like in the same class."""
    return isinstance(node, lxml.etree._Element) and isinstance(node.tag, str)  # noqa: SLF001 - it has no public name
