"""Kinds that a test installs in a tier's process, as a third party's package would."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel

from schemas.tiers import Tier
from streams.handlers.port import Handler, Next

ROOT = Path(__file__).parents[2]


class Plan(BaseModel):
    parts: int = 1
    delay: float = 0
    seconds: float = 0


class Done(BaseModel):
    pid: int


class Dies(Handler[Plan, Done]):
    """Kills the process that runs it, as a segmentation fault or the kernel's out-of-memory killer does."""

    kind = "odd.dies"
    tier = Tier.REALTIME
    payload = Plan
    result = Done

    async def run(self, payload, context):
        os.kill(os.getpid(), signal.SIGKILL)


class Works(Handler[Plan, Done]):
    """Takes its time, part after part."""

    kind = "odd.works"
    tier = Tier.REALTIME
    payload = Plan
    result = Done

    async def run(self, payload, context):
        await asyncio.sleep(payload.seconds)
        if payload.parts > 1:
            return Next(payload.model_copy(update={"parts": payload.parts - 1}), timedelta(seconds=payload.delay))
        return Done(pid=os.getpid())


def install(folder: Path) -> str:
    """Lay the metadata of an installed distribution into a folder, and return the path that finds it and this file."""
    info = folder / "barnabas_odd_handlers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: barnabas-odd-handlers\nVersion: 1.0\n")
    points = [f"{handler.kind} = tests.streams.odd_handlers:{handler.__name__}\n" for handler in (Dies, Works)]
    (info / "entry_points.txt").write_text("[barnabas.handlers]\n" + "".join(points))
    return os.pathsep.join((str(folder), str(ROOT)))
