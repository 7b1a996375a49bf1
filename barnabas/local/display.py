"""What a person sees of a stack that starts, runs and stops: a live table on a terminal, else a line a change.

All of it goes to standard error: standard output is for data.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class State(StrEnum):
    """Where a process, or a step of the start, is."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


COLOURS = {
    State.STARTING: "yellow",
    State.READY: "green",
    State.RESTARTING: "magenta",
    State.FAILED: "red",
    State.STOPPING: "yellow",
    State.STOPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be shown of one process or step.

    Attributes:
        name: of the process or step.
        state: where it is.
        detail: what it says, such as `converting the model 40 %`.
        seconds: how long it took, once that is known.
    """

    name: str
    state: State
    detail: str = ""
    seconds: float | None = None


class Display(Protocol):
    """Shows rows as they change."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, row: Row) -> None:
        """Show how one process or step is now."""


class Silent:
    """Shows nothing: for whoever embeds a stack."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, row: Row) -> None:
        """Show nothing."""


class Lines(Silent):
    """One line a change of state; details, which may come often, at most one in `every` seconds for each name."""

    def __init__(self, out: TextIO, *, every: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._every = every
        self._clock = clock
        self._last: dict[str, tuple[Row, float]] = {}

    def show(self, row: Row) -> None:
        """Print a line, unless it says nothing new or comes too soon."""
        now = self._clock()
        before, at = self._last.get(row.name, (None, float("-inf")))
        same_state = before is not None and before.state is row.state
        if before == row or (same_state and now - at < self._every):
            return
        self._last[row.name] = (row, now)
        took = "" if row.seconds is None else f" in {row.seconds:.1f} s"
        detail = f": {row.detail}" if row.detail else ""
        self._out.write(f"{row.name} {row.state}{took}{detail}\n")
        self._out.flush()


class LiveTable(Silent):
    """A table that is drawn anew as things change."""

    def __init__(self, out: TextIO) -> None:
        self._rows: dict[str, Row] = {}
        self._live = Live(console=Console(file=out), refresh_per_second=8, get_renderable=self._table)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, row: Row) -> None:
        """Draw the row's new state."""
        self._rows[row.name] = row

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("process", "state", "took", "says"):
            table.add_column(heading, header_style="dim", overflow="ellipsis", no_wrap=True)
        for row in self._rows.values():
            took = "" if row.seconds is None else f"{row.seconds:.1f} s"
            table.add_row(row.name, Text(row.state, COLOURS[row.state]), took, Text(row.detail))
        return table


def display_for(out: TextIO = sys.stderr) -> Display:
    """Return the display that suits an output."""
    return LiveTable(out) if out.isatty() else Lines(out)
