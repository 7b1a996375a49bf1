"""The tasks of this benchmark as handlers of Barnabas, installed as a third party's are: by an entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from benchmarks.dispatch.work import work
from schemas.tiers import Tier
from streams.handlers.port import Context, Handler

if TYPE_CHECKING:
    from pathlib import Path


class Nothing(BaseModel):
    """No fields."""


class WorkPayload(BaseModel):
    """`Work`, checked as every payload is."""

    cpu_ms: float
    gate: str = ""
    log: str = ""


class WorkHandler(Handler[WorkPayload, Nothing]):
    """Uses CPU."""

    kind = "bench.work"
    tier = Tier.BATCH
    payload = WorkPayload
    result = Nothing

    async def run(self, payload: WorkPayload, context: Context) -> Nothing:
        """Do the work in the event loop, as a handler does that needs some milliseconds."""
        work(context.task_id, payload.cpu_ms, payload.gate, payload.log)
        return Nothing()


class TrivialHandler(Handler[Nothing, Nothing]):
    """Does nothing."""

    kind = "bench.trivial"
    tier = Tier.BATCH
    payload = Nothing
    result = Nothing

    async def run(self, payload: Nothing, context: Context) -> Nothing:  # noqa: ARG002 - the port's
        """Do nothing."""
        return Nothing()


def install(folder: Path) -> Path:
    """Make a distribution that names the handlers and return the folder to put on `PYTHONPATH`."""
    info = folder / "barnabas_benchmarks-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: barnabas-benchmarks\nVersion: 1\n")
    points = [f"{it.kind} = {it.__module__}:{it.__name__}" for it in (WorkHandler, TrivialHandler)]
    (info / "entry_points.txt").write_text("\n".join(["[barnabas.handlers]", *points]) + "\n")
    return folder
