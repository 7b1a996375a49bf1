"""What every benchmark prints: rows of a metric, ours beside a peer's, with the goal and whether it is met.

A person gets a table, a pipe lines with tabs between the columns, and `--json` one object, all on standard output;
progress goes to standard error.
"""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console
from rich.table import Table

_stderr = Console(stderr=True)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A metric.

    Attributes:
        metric: what was measured, with its unit.
        ours: the figure of Barnabas.
        peer: the peer's; None where there is nothing to compare.
        peer_name: who the peer is.
        ratio: ours / peer.
        spread: (largest - smallest) / median over the rounds, of the side where it is larger; None for one round.
        goal: what `ours` is to be, in words; None for a figure that only informs.
        met: whether it is.
    """

    metric: str
    ours: float
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    spread: float | None = None
    goal: str | None = None
    met: bool | None = None


class Report(msgspec.Struct, frozen=True):
    """A benchmark's rows.

    Attributes:
        name: of the benchmark.
        rows: in the order of their printing.
    """

    name: str
    rows: list[Row]


def row(
    metric: str,
    ours: float,
    peer: float | None = None,
    *,
    peer_name: str | None = None,
    spreads: tuple[float | None, ...] = (),
    at_most: float | None = None,
    at_least: float | None = None,
    goal: str | None = None,
) -> Row:
    """Return a row whose goal is checked.

    Args:
        metric: what was measured, with its unit.
        ours: the figure of Barnabas.
        peer: the peer's.
        peer_name: who the peer is.
        spreads: of each side, over its rounds.
        at_most: the most that `ours` may be.
        at_least: the least that `ours` may be.
        goal: that in words.
    """
    met = None
    if at_most is not None or at_least is not None:
        met = (at_most is None or ours <= at_most) and (at_least is None or ours >= at_least)
    return Row(
        metric=metric,
        ours=_short(ours),
        peer=None if peer is None else _short(peer),
        peer_name=None if peer is None else peer_name,
        ratio=_short(ours / peer) if peer else None,
        spread=max((_short(each) for each in spreads if each is not None), default=None),
        goal=goal,
        met=met,
    )


def say(text: str) -> None:
    """Tell on standard error how far a benchmark is."""
    _stderr.print(text, style="dim", highlight=False)


def show(report: Report, *, as_json: bool) -> None:
    """Print a report on standard output: as JSON, or as who reads it wants it."""
    if as_json:
        print(msgspec.json.encode(report).decode())
    elif sys.stdout.isatty():
        _table(report)
    else:
        _lines(report)


def _lines(report: Report) -> None:
    """Print the fields' names, then a line a row: empty where there is nothing."""
    names = Row.__struct_fields__
    print("\t".join(names))
    for each in report.rows:
        values = (getattr(each, name) for name in names)
        print("\t".join(_word(value) for value in values))


def _word(value: bool | float | str | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _table(report: Report) -> None:
    table = Table(title=report.name)
    for heading in ("metric", "goal"):
        table.add_column(heading)
    for heading in ("ours", "peer", "ratio", "spread"):
        table.add_column(heading, justify="right")
    table.add_column("met", justify="center")
    for each in report.rows:
        table.add_row(
            each.metric,
            each.goal or "",
            *(f"{figure:g}" if figure is not None else "" for figure in (each.ours, each.peer, each.ratio)),
            f"{each.spread:.0%}" if each.spread is not None else "",
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each.met],
        )
    console = Console()
    console.print(table)
    peers = {each.peer_name for each in report.rows if each.peer_name}
    if peers:
        console.print(f"peer: {', '.join(sorted(peers))}", style="dim", highlight=False)


def _short(figure: float) -> float:
    """Return a figure to four digits: what lies beyond them is noise."""
    return float(f"{figure:.4g}")
