"""The tables of a page as rows of texts, cells that span rows or columns repeated in each (HTML, "forming a table").

A cell of a few bytes may say that it spans a thousand columns and all rows, and a page may nest tables in tables: what
is made of a page is bounded by `MOST_CELLS` in all, and a cell's text leaves out the tables within it. What stands between
a table, its rows and its cells, where nothing may (a form, a link), is looked through, and a missing row is made up.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.web.document import inner_text, spaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streams.web.document import Document

MOST_CELLS = 200_000
_MOST_COLSPAN = 1000  # HTML's own bound
_NUMBER = re.compile(r"\s*\+?(\d{1,12})", re.ASCII)
_DEEPEST = 10
"""Of tables in tables: each level reads its text again."""


_CELLS = frozenset({"td", "th"})
_ROWS = _CELLS | {"tr"}
_SECTIONS = frozenset({"thead", "tbody", "tfoot"})


class _Hanging(NamedTuple):
    """A text that spans rows, in the rows below its own.

    Attributes:
        text: of the cell.
        left: for how many more rows.
    """

    text: str
    left: int


class _FullError(Exception):
    """There are as many cells as there may be."""


def tables(document: Document) -> list[dict[str, Any]]:
    """Return each table that has cells: its caption, its header (a text a column) and its rows.

    Rows of `<thead>`, or else the first rows that hold `<th>` alone, are the header; where they are several, each
    column's different texts are joined. All rows of a table are equally long.
    """
    budget = _Budget(MOST_CELLS)
    found = []
    if document.root.xpath(f"boolean(//table[count(ancestor::table) = {_DEEPEST}])"):
        document.notes.append(f"tables within more than {_DEEPEST - 1} others are left out")
    for table in document.root.xpath(f"//table[count(ancestor::table) < {_DEEPEST}]"):
        try:
            grid, headers = _grid(table, budget)
        except _FullError:
            document.notes.append(f"tables with more than {MOST_CELLS:,} cells in all are left out")
            break
        if grid:
            caption = table.find("caption")
            found.append(
                {
                    "caption": None if caption is None else spaced(_text(caption)) or None,
                    "header": _header(grid[:headers]),
                    "rows": grid[headers:],
                }
            )
    return found


class _Budget:
    """How many cells may still be made."""

    def __init__(self, cells: int) -> None:
        self._left = cells

    def take(self, cells: int) -> None:
        self._left -= cells
        if self._left < 0:
            raise _FullError


def _grid(table: Any, budget: _Budget) -> tuple[list[list[str]], int]:
    """Return a table's rows, spans expanded, and how many of them head it."""
    grid: list[list[str]] = []
    headers = 0
    heading = True
    for is_head, group in _groups(table):
        rows = _expanded(group, budget)
        if is_head:
            grid[headers:headers] = rows  # wherever it stands, it heads the table
            headers += len(rows)
            heading = False
        else:
            for row, cells in zip(rows, group, strict=True):
                heading = heading and bool(row) and all(cell.tag == "th" for cell in cells)
                headers += heading
                grid.append(row)
    width = max(map(len, grid), default=0)
    for row in grid:
        budget.take(width - len(row))
        row.extend([""] * (width - len(row)))
    if headers == len(grid):  # a table of `<th>` alone has rows all the same
        headers = 0
    return (grid if width else []), headers


def _groups(table: Any) -> Iterator[tuple[bool, list[list[Any]]]]:
    """Yield runs of rows that spans stay within, and whether they are the table's head."""
    for in_sections, parts in groupby(_nearest(table, _SECTIONS | _ROWS), lambda part: part.tag in _SECTIONS):
        if in_sections:
            for section in parts:
                yield section.tag == "thead", _rows(_nearest(section, _ROWS))
        else:
            yield False, _rows(parts)


def _rows(parts: Iterable[Any]) -> list[list[Any]]:
    """Return the cells of each row; cells that stand beside each other in none are one."""
    rows: list[list[Any]] = []
    for in_rows, run in groupby(parts, lambda part: part.tag == "tr"):
        if in_rows:
            rows.extend(_nearest(row, _CELLS) for row in run)
        else:
            rows.append(list(run))
    return rows


def _nearest(root: Any, tags: frozenset[str]) -> list[Any]:
    """Return the elements of such tags in another, without those in them and in tables in it."""
    found = list(root)
    if all(element.tag in tags for element in found):  # which all but broken pages are
        return found
    found.clear()
    waiting = list(reversed(root))
    while waiting:
        element = waiting.pop()
        if element.tag in tags:
            found.append(element)
        elif element.tag != "table":
            waiting += reversed(element)
    return found


def _expanded(rows: list[list[Any]], budget: _Budget) -> list[list[str]]:
    """Return the texts of a group's rows, each span repeated."""
    grid = []
    hanging: dict[int, _Hanging] = {}
    for place, row in enumerate(rows):
        texts: list[str] = []
        below: dict[int, _Hanging] = {}
        for cell in row:
            while len(texts) in hanging:
                _hang(texts, len(texts), hanging, below, budget)
            text = spaced(_text(cell))
            columns = min(max(_number(cell.get("colspan")), 1), _MOST_COLSPAN)
            left = len(rows) - place  # a span of 0 rows reaches to the end of the group, and none beyond it
            down = min(_number(cell.get("rowspan")) or left, left) - 1
            budget.take(columns)
            if down:
                below |= dict.fromkeys(range(len(texts), len(texts) + columns), _Hanging(text, down))
            texts += [text] * columns
        for column in sorted(hanging):
            _hang(texts, column, hanging, below, budget)
        grid.append(texts)
        hanging = below
    return grid


def _hang(
    texts: list[str], column: int, hanging: dict[int, _Hanging], below: dict[int, _Hanging], budget: _Budget
) -> None:
    """Put what hangs into a row from above in its column, unless a cell that spans columns covers it."""
    text, left = hanging.pop(column)
    if left > 1:
        below.setdefault(column, _Hanging(text, left - 1))
    if column >= len(texts):
        budget.take(column + 1 - len(texts))
        texts += [""] * (column - len(texts)) + [text]


def _number(text: str | None) -> int:
    """Return a span; one that does not begin with a number spans one (HTML, "rules for parsing non-negative integers")."""
    found = _NUMBER.match(text) if text else None
    return int(found[1]) if found else 1


def _text(cell: Any) -> str:
    """Return a cell's text without that of tables within it, which are tables of their own."""
    if not len(cell):
        return cell.text or ""
    if cell.find(".//table") is None:
        return str(inner_text(cell))
    depth = cell.xpath("count(ancestor::table)")
    return "".join(cell.xpath(".//text()[count(ancestor::table) = $depth]", depth=depth, smart_strings=False))


def _header(rows: list[list[str]]) -> list[str]:
    return [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*rows, strict=True)]
