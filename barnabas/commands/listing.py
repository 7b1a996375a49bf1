"""A list of unknown length as a command prints it: line by line into a pipe, as one table for a person."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from barnabas import output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

T = TypeVar("T")

Limit = Annotated[int, typer.Option(min=0, help="The most to list; 0 lists all.")]


async def show_list(
    items: AsyncGenerator[T],
    headings: Sequence[str],
    row: Callable[[T], Sequence[Any]],
    *,
    limit: int,
    as_json: bool,
) -> None:
    """Print up to `limit` items, or all for 0, and note when there are more.

    Args:
        items: closed at the end.
        headings: of the table's columns.
        row: from an item to its cells.
        limit: the most to print.
        as_json: lines for a person as well.
    """
    pretty = output.pretty(as_json)
    cells: list[Sequence[Any]] = []
    shown = 0
    async with aclosing(items):
        async for item in items:
            if limit and shown == limit:
                output.note(f"there are more than these {limit}: --limit 0 lists all")
                break
            shown += 1
            if pretty:
                cells.append(row(item))
            else:
                output.line(item)
    if pretty:
        output.rows(headings, cells)
