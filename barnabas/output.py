"""What the commands print: data on standard output, everything for people on standard error.

On a terminal data are coloured and laid out; in a pipe, or with `--json`, they are JSON, one line each. Times are
written as the edge writes them: UTC, to the millisecond.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
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
    sys.stdout.write(msgspec.json.encode(plain(value)).decode() + "\n")
    sys.stdout.flush()


def value(data: Any, *, as_json: bool) -> None:
    """Print a value: laid out and coloured for a person, else as one line."""
    if not pretty(as_json):
        line(data)
        return
    from rich.console import Console  # noqa: PLC0415 - costs 60 ms, which a pipe need not pay
    from rich.json import JSON  # noqa: PLC0415

    Console().print(JSON(msgspec.json.encode(plain(data)).decode()))


def plain(data: Any) -> Any:
    """Return a value as JSON has it."""
    return _written(msgspec.to_builtins(data, builtin_types=(datetime,)))


def _written(data: Any) -> Any:
    match data:
        case dict():
            return {name: _written(value) for name, value in data.items()}
        case list() | tuple():
            return [_written(value) for value in data]
        case datetime():
            return data.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case _:
            return data


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
        problem(error, as_json=as_json)
        raise typer.Exit(int(code_of(error))) from None


def problem(error: BarnabasError, *, as_json: bool) -> None:
    """Tell what went wrong; in JSON all four fields are always said."""
    if as_json:
        said = {"code": error.code, "message": error.message, "field": error.field, "retryable": error.retryable}
        note(msgspec.json.encode({"error": said}).decode())
    else:
        note(f"error: {error} ({error.code})")
