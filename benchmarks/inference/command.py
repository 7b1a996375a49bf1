"""`python -m benchmarks inference`: start a local stack, our engine alone and llama.cpp's servers, and run the course."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backbone.settings import Settings, settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.processes import EDGE, KAFKA, VALKEY, WORKER
from barnabas.local.stack import LocalStack
from benchmarks.inference.chart import draw
from benchmarks.inference.course import FULL, QUICK, Results, cold, streams, urgent
from benchmarks.inference.native import native
from benchmarks.inference.peers import THREADS, peers
from benchmarks.inference.rows import rows
from benchmarks.inference.server import Server
from benchmarks.inference.whole_path import WholePath
from benchmarks.report import Report, say
from inference_worker.models import catalog

if TYPE_CHECKING:
    from benchmarks.inference.course import Size
    from benchmarks.inference.native import Native

ENGINE: Final = "Barnabas, engine over HTTP"
SLOTS: Final = 20
"""Of our worker: 16 realtime streams run in them beside what is kept for the urgent tier."""


def measure(*, quick: bool = False, plot: Path | None = None) -> Report:
    """Return the report.

    Args:
        quick: whether a short form does: of the stack what is on the path, and of the peers the wheel.
        plot: an SVG file of tokens a second and times to first token.
    """
    built = None if quick else native(settings().cache / "benchmarks")
    with tempfile.TemporaryDirectory(prefix="barnabas-benchmark-") as folder:
        results, peer_names = asyncio.run(_measure(QUICK if quick else FULL, Path(folder), built, quick=quick))
    if plot:
        plot.write_text(draw(results, [ENGINE, WholePath.name, *peer_names]))
    return Report("inference", rows(results, ENGINE, WholePath.name, peer_names))


async def _measure(size: Size, folder: Path, built: Native | None, *, quick: bool) -> tuple[Results, list[str]]:
    """Return the results, and what the peers are called in them."""
    only = (KAFKA, VALKEY, WORKER, EDGE) if quick else None
    say("the local stack starts, and converts the model")
    here = Settings(home=folder / "home", inference_threads=THREADS, inference_slots=SLOTS, **FREE_PORTS)
    async with LocalStack(here, only=only) as stack:
        await stack.complete()
        whole = WholePath(stack)
        engine = Server(ENGINE, _engine, stack.environment, folder / "engine.log")
        others = peers(catalog.source(stack.settings.model).file, built, folder)
        results = Results()
        if not quick:
            fresh = {"BARNABAS_HOME": str(folder / "fresh"), "BARNABAS_CACHE": str(folder / "fresh-cache")}
            await cold(engine, fresh, others, results)
        await streams([whole, engine, *(peer.server for peer in others)], size, results)
        for way in (whole, engine):
            await urgent(way, size, results)
    return results, [peer.server.name for peer in others]


def _engine(port: int, _streams: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.inference.engine_server", str(port)]
