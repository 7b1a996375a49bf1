"""`python -m benchmarks dispatch`: start both systems, run the course, return the report."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import contextmanager
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
    from collections.abc import Iterator

    from benchmarks.dispatch.course import Size


def measure(*, quick: bool = False, plot: Path | None = None) -> Report:
    """Return the report; draw the latencies into `plot` if it is named."""
    with tempfile.TemporaryDirectory(prefix="barnabas-benchmark-") as folder, _stack(Path(folder) / "home") as stack:
        ours, peer = _course(stack, QUICK if quick else FULL, Path(folder))
    if plot:
        draw(ours, peer, plot)
    return Report("dispatch", rows(ours, peer))


@contextmanager
def _stack(home: Path) -> Iterator[LocalStack]:
    """Run Kafka and Valkey; their supervisor has a thread of its own, so that a Ctrl-C ends the course and not them first."""
    say("Kafka and Valkey start")
    stack = LocalStack(Settings(home=home, **FREE_PORTS), only=("kafka", "valkey"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stack")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(stack.__aenter__(), loop).result()
        try:
            yield stack
        finally:
            asyncio.run_coroutine_threadsafe(stack.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


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
