"""Curves over time as an SVG: a column for each scenario, a row for each measure, each from 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.plot import Curve

WIDTH, HEIGHT = 300, 130
LEFT, TOP, GAP_X, GAP_Y = 16, 96, 22, 46
LEGEND = 52


@dataclass(frozen=True, slots=True)
class Measure:
    """A row.

    Attributes:
        name: what is measured.
        percent: whether it is a share of 1; else the scale ends with the largest.
        line: a value to mark.
        columns: the curves by scenario, x in seconds.
    """

    name: str
    percent: bool
    line: float | None
    columns: Mapping[str, Sequence[Curve]]


def picture(measures: Sequence[Measure], *, title: str) -> str:
    """Return an SVG document, on a white ground that suits both themes of a page."""
    scenarios = list(measures[0].columns)
    width = LEFT + len(scenarios) * (WIDTH + GAP_X)
    height = TOP + len(measures) * (HEIGHT + GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
        *_legend(measures),
    ]
    for column, scenario in enumerate(scenarios):
        x = LEFT + column * (WIDTH + GAP_X)
        parts.append(f'<text x="{x + WIDTH / 2}" y="{TOP - 22}" text-anchor="middle">{escape(scenario)}</text>')
        for row, measure in enumerate(measures):
            y = TOP + row * (HEIGHT + GAP_Y)
            parts += _panel(measure, scenario, x, y, named=not column)
    return "\n".join([*parts, "</svg>\n"])


def _legend(measures: Sequence[Measure]) -> list[str]:
    curves = {
        curve.name: curve for row in measures for column in row.columns.values() for curve in column if curve.name
    }
    return [
        part
        for number, curve in enumerate(curves.values())
        for part in (
            f'<path d="M{LEFT + number * 110} {LEGEND - 10}h22" stroke="{curve.colour}" stroke-width="2"/>',
            f'<text x="{LEFT + 28 + number * 110}" y="{LEGEND - 6}">{escape(curve.name)}</text>',
        )
    ]


def _panel(measure: Measure, scenario: str, left: float, top: float, *, named: bool) -> list[str]:
    most = 1.0 if measure.percent else max(1.0, *(y for curve in measure.columns[scenario] for _, y in curve.points))
    end = max(x for curve in measure.columns[scenario] for x, _ in curve.points)

    def at(x: float, y: float) -> str:
        return f"{left + x / end * WIDTH:.1f},{top + HEIGHT - y / most * HEIGHT:.1f}"

    parts = [
        f'<path d="M{left} {top}v{HEIGHT}h{WIDTH}" stroke="#999" fill="none"/>',
        f'<text x="{left + WIDTH}" y="{top + HEIGHT + 15}" text-anchor="end">{end:.0f} s</text>',
    ]
    highest = f"{most:.0%}" if measure.percent else f"{most:.0f}"
    parts.append(f'<text x="{left + 4}" y="{top + 12}" fill="#666">{highest}</text>')
    if named:
        parts.append(f'<text x="{left}" y="{top - 6}" font-weight="bold">{escape(measure.name)}</text>')
    if measure.line is not None:
        _, y = at(0, measure.line).split(",")
        parts.append(f'<path d="M{left} {y}h{WIDTH}" stroke="#999" stroke-dasharray="4 3"/>')
    for curve in measure.columns[scenario]:
        points = " ".join(at(x, y) for x, y in curve.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{curve.colour}" stroke-width="1.5"/>')
    return parts
