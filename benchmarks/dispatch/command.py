"""`python -m benchmarks dispatch`: start both systems, run the course, return the report."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from benchmarks.dispatch.chart import draw
from benchmarks.dispatch.course import FULL, QUICK, Results, run
from benchmarks.dispatch.ours import Barnabas
from benchmarks.dispatch.peer import Celery
from benchmarks.dispatch.rows import rows
from benchmarks.report import Report, say

if TYPE_CHECKING:
    from benchmarks.dispatch.course import Size


def measure(*, quick: bool = False, plot: Path | None = None) -> Report:
    """Return the report; draw the latencies into `plot` if it is named."""
    with tempfile.TemporaryDirectory(prefix="barnabas-benchmark-") as folder:
        ours, peer = asyncio.run(_both(QUICK if quick else FULL, Path(folder)))
    if plot:
        draw(ours, peer, plot)
    return Report("dispatch", rows(ours, peer))


async def _both(size: Size, folder: Path) -> list[Results]:
    say("Kafka and Valkey start")
    settings = Settings(home=folder / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("kafka", "valkey")) as stack:
        return await asyncio.to_thread(_course, stack, size, folder)


def _course(stack: LocalStack, size: Size, folder: Path) -> list[Results]:
    for name in ("ours", "peer"):
        (folder / name).mkdir()
    ours = Barnabas(stack.settings, stack, folder / "ours")
    try:
        peer = Celery(folder / "peer")
        try:
            return run((ours, peer), size, folder)
        finally:
            peer.close()
    finally:
        ours.close()
