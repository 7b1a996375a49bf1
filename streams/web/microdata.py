"""Items of HTML microdata: a type, an id, and properties, whose values may be items again.

As the HTML standard says ("Associating names with items"), `itemref` among it. Its bound on what is taken is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.web.document import inner_text, spaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.web.document import Document

MOST_VALUES = 5_000
_DEEPEST = 16
_ADDRESS = {
    **dict.fromkeys(("audio", "embed", "iframe", "img", "source", "track", "video"), "src"),
    **dict.fromkeys(("a", "area", "link"), "href"),
    "object": "data",
}
_VALUE = {"meta": "content", "data": "value", "meter": "value", "time": "datetime"}


class _FullError(Exception):
    """There are as many values as there may be."""


def microdata(document: Document) -> list[dict[str, Any]]:
    """Return the items of a page that are no item's property: `{"type": [...], "id": ..., "properties": {...}}`."""
    reader = _Reader(document)
    items: list[dict[str, Any]] = []
    try:
        items.extend(reader.item(scope, ()) for scope in document.root.xpath("//*[@itemscope][not(@itemprop)]"))
    except _FullError:
        document.notes.append(f"microdata beyond {MOST_VALUES:,} values is left out")
    return items


class _Reader:
    """Reads the items of a page."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = MOST_VALUES
        self._by_id: dict[str, Any] = {}
        for element in document.root.xpath("//*[@id]"):
            self._by_id.setdefault(element.get("id"), element)

    def item(self, scope: Any, within: tuple[Any, ...]) -> dict[str, Any]:
        """Return an item.

        Args:
            scope: its element.
            within: those of the items that it is a property of, which it can't hold in turn.
        """
        within = (*within, scope)
        properties: dict[str, list[Any]] = {}
        for element in self._properties(scope):
            value = self._value(element, within)
            for name in dict.fromkeys(element.get("itemprop").split()):
                self._left -= 1
                if self._left < 0:
                    raise _FullError
                if value is not None:
                    properties.setdefault(name, []).append(value)
        found: dict[str, Any] = {"type": (scope.get("itemtype") or "").split(), "properties": properties}
        if name := (scope.get("itemid") or "").strip():
            found["id"] = self._document.absolute(name) or name
        return found

    def _properties(self, scope: Any) -> Iterator[Any]:
        """Yield the elements that are properties of an item, and of none within it."""
        roots = list(scope)
        roots += [
            self._by_id[name] for name in dict.fromkeys((scope.get("itemref") or "").split()) if name in self._by_id
        ]
        seen = {scope}
        waiting = roots[::-1]
        while waiting:
            element = waiting.pop()
            if element in seen or not isinstance(element.tag, str):
                continue
            seen.add(element)
            if element.get("itemscope") is None:
                waiting += reversed(element)
            if (element.get("itemprop") or "").strip():
                yield element

    def _value(self, element: Any, within: tuple[Any, ...]) -> Any:
        if element.get("itemscope") is not None:
            return self.item(element, within) if element not in within and len(within) < _DEEPEST else None
        if attribute := _ADDRESS.get(element.tag):
            return self._document.absolute(element.get(attribute)) or ""
        text = element.get(_VALUE.get(element.tag, "content"))  # of others, too, as schema.org's own examples have it
        return spaced(inner_text(element)) if text is None else text.strip()
