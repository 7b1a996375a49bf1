"""The latencies as a picture: for each system, idle and loaded, how large a share of the tasks was done by when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.plot import Curve, curves

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.dispatch.course import Results
    from benchmarks.dispatch.latency import Series


def draw(ours: Results, peer: Results, file: Path) -> None:
    """Draw cumulative distributions of the time from submit to done."""
    file.write_text(
        curves(
            [
                _curve("Barnabas, idle", ours.idle, "#1f77b4", dashed=True),
                _curve("Barnabas, under backlog", ours.loaded, "#1f77b4"),
                _curve("Celery + Redis, idle", peer.idle, "#d95f02", dashed=True),
                _curve("Celery + Redis, under backlog", peer.loaded, "#d95f02"),
                _curve("Celery + Redis, under backlog, niced", peer.niced, "#e7a977"),
            ],
            title="Urgent tasks: share done by … ms after their submit",
        )
    )


def _curve(name: str, series: Series, colour: str, *, dashed: bool = False) -> Curve:
    percents = [percent / 2 for percent in range(1, 199)]
    return Curve(name, [(series.ms(percent), percent / 100) for percent in percents], colour, dashed=dashed)
