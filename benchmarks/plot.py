"""Curves as an SVG that needs no library: x on a logarithmic scale, y from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 44, 44
LINE = 18


@dataclass(frozen=True, slots=True)
class Curve:
    """A line.

    Attributes:
        name: for the legend.
        points: (x, y), x above 0 and y from 0 to 1.
        colour: as CSS has it.
        dashed: how it is drawn.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


def curves(lines: Sequence[Curve], *, title: str) -> str:
    """Return an SVG document of these curves, on a white ground that suits both themes of a page."""
    low = math.log10(min(x for line in lines for x, _ in line.points))
    high = math.log10(max(x for line in lines for x, _ in line.points))

    def at_x(x: float) -> float:
        return LEFT + (math.log10(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for y in (0.0, 0.25, 0.5, 0.75, 0.95, 1.0):
        parts += [
            f'<path d="M{LEFT} {at_y(y):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>',
            f'<text x="{LEFT - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:.0%}</text>',
        ]
    for x in _ticks(10**low, 10**high):
        parts += [
            f'<path d="M{at_x(x):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>',
            f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>',
        ]
    for number, line in enumerate(lines):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line.points)
        style = f'fill="none" stroke="{line.colour}" stroke-width="2"' + (
            ' stroke-dasharray="5 4"' if line.dashed else ""
        )
        key = HEIGHT - BOTTOM - LINE * (len(lines) - number) + 4
        parts += [
            f'<polyline points="{path}" {style}/>',
            f'<path d="M{WIDTH - RIGHT - 30} {key - 4}h26" {style}/>',
            f'<text x="{WIDTH - RIGHT - 36}" y="{key}" text-anchor="end">{escape(line.name)}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times each power of ten between the bounds."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [x for power in powers for digit in (1, 2, 5) if low <= (x := digit * 10.0**power) <= high]
