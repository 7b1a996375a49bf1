"""What the commands print: data on standard output, everything for people on standard error.

On a terminal data are coloured and laid out; in a pipe, or with `--json`, they are JSON, one line each.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from barnabas.exit_codes import code_of
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table


def pretty(as_json: bool) -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty() and not as_json


def line(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def value(data: Any, *, as_json: bool) -> None:
    """Print a value: laid out and coloured for a person, else as one line."""
    if not pretty(as_json):
        line(data)
        return
    from rich.console import Console  # noqa: PLC0415 - costs 60 ms, which a pipe need not pay
    from rich.json import JSON  # noqa: PLC0415

    Console().print(JSON(msgspec.json.encode(data).decode()))


def piece(text: str) -> None:
    """Print a piece of a text that comes little by little."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell a person something."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def new_table(*headings: str) -> Table:
    """Return an empty table."""
    from rich.table import Table  # noqa: PLC0415

    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def rows(headings: Sequence[str], cells: Sequence[Sequence[object]]) -> None:
    """Print a table; None is an empty cell."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = new_table(*headings)
    for row in cells:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console().print(made)


@contextmanager
def reported(*, as_json: bool) -> Iterator[None]:
    """Turn a typed error into a message on standard error and the exit code that it stands for."""
    try:
        yield
    except BarnabasError as error:
        if as_json:
            note(msgspec.json.encode({"error": error.problem()}).decode())
        else:
            note(f"error: {error} ({error.code})")
        raise typer.Exit(int(code_of(error))) from None
