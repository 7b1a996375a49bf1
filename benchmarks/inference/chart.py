"""The streams as a picture: tokens a second and time to first token, by how many answers come at once."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from benchmarks.measure import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.inference.course import Results, Wave

COLOURS: Final = ("#1f77b4", "#7fb3d9", "#d95f02", "#e7a977", "#a6761d")
WIDTH, HEIGHT = 340, 260
LEFT, RIGHT, TOP, GAP = 52, 16, 96, 76
LINE = 18


def draw(results: Results, names: Sequence[str]) -> str:
    """Return an SVG document, on a white ground that suits both themes of a page.

    Args:
        results: of the course.
        names: of the ways, ours first.
    """
    width, height = LEFT + 2 * WIDTH + GAP + RIGHT, TOP + HEIGHT + 36
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">SmolLM2-135M, 2 threads, by the number of streams</text>',
    ]
    for number, name in enumerate(names):
        x, y = LEFT + 230 * (number % 3), 40 + LINE * (number // 3)
        parts += [
            f'<path d="M{x} {y - 4}h22" stroke="{COLOURS[number]}" stroke-width="2"/>',
            f'<text x="{x + 28}" y="{y}">{escape(name)}</text>',
        ]
    panels: Mapping[str, Callable[[Wave], float]] = {
        "tokens a second": lambda wave: wave.per_second,
        "time to first token, p50 (ms)": lambda wave: percentile([each.ttft_ms for each in wave.heard], 50),
    }
    for column, (title, of) in enumerate(panels.items()):
        curves = [
            [(count, median(map(of, waves))) for (way, count), waves in sorted(results.waves.items()) if way == name]
            for name in names
        ]
        parts += _panel(LEFT + column * (WIDTH + GAP), title, curves)
    return "\n".join([*parts, "</svg>\n"])


def _panel(left: float, title: str, curves: Sequence[Sequence[tuple[int, float]]]) -> list[str]:
    most = max(y for curve in curves for _, y in curve)
    end = max(x for curve in curves for x, _ in curve)

    def at(x: float, y: float) -> str:
        return f"{left + x / end * WIDTH:.1f},{TOP + HEIGHT - y / most * HEIGHT:.1f}"

    parts = [
        f'<text x="{left}" y="{TOP - 12}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{left} {TOP}v{HEIGHT}h{WIDTH}" stroke="#999" fill="none"/>',
    ]
    step = _step(most)
    for part in range(int(most / step) + 1):
        _, y = at(0, part * step).split(",")
        parts += [
            f'<path d="M{left} {y}h{WIDTH}" stroke="#ddd"/>',
            f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{part * step:g}</text>',
        ]
    for count, _ in curves[0]:
        x, _ = at(count, 0).split(",")
        parts.append(f'<text x="{x}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{count}</text>')
    for curve, colour in zip(curves, COLOURS, strict=False):
        points = " ".join(at(x, y) for x, y in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in points.split():
            x, y = point.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
    return parts


def _step(most: float) -> float:
    """Return the distance of a scale's lines, 1, 2 or 5 times a power of ten: at most five of them up to the largest."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(power * digit for digit in (0.2, 0.5, 1, 2) if most <= 5 * power * digit)
