"""The kind `chaos.work`: does as it is told (passes, sleeps, spins, fails), and notes each time it is handed a task.

A package of its own on `PYTHONPATH`, found by its entry point like any third party's. The notes are lines in the file
that `CHAOS_NOTES` names, one for each handing-over: so it is known what was handed over twice.
"""

from __future__ import annotations

import asyncio
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from schemas.tiers import Tier
from streams.errors import PayloadError, TransientError
from streams.handlers.port import Context, Handler

if TYPE_CHECKING:
    from backbone.settings import Settings


class Do(StrEnum):
    """What a task is told to do."""

    PASS = "pass"
    SLEEP = "sleep"
    SPIN = "spin"
    FLAKE = "flake"
    """Fails in a way that may pass, the first time."""
    TIRE = "tire"
    """Fails so each time."""
    FAIL = "fail"
    DIE = "die"
    """Ends the process that does its work."""


class WorkPayload(BaseModel):
    """What to do, for how many ms, and what to say in the end."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"do": "pass", "say": "done"}]})

    do: Do
    ms: Annotated[int, Field(ge=0, le=20_000)] = 0
    say: str = ""


class WorkResult(BaseModel):
    """What was said."""

    said: str


class Note(msgspec.Struct, frozen=True):
    """A handing-over: of which task, to do what, by which process, when (ms since the epoch)."""

    task_id: str
    do: str
    pid: int
    at: int


class ChaosWork(Handler[WorkPayload, WorkResult]):
    """Do as told."""

    kind = "chaos.work"
    tier = Tier.BATCH
    payload = WorkPayload
    result = WorkResult

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._notes = Path(os.environ["CHAOS_NOTES"])

    async def run(self, payload: WorkPayload, context: Context) -> WorkResult:
        """Do it.

        Raises:
            PayloadError: it was told to fail.
            TransientError: it was told to fail in a way that may pass.
        """
        handed = self._note(context.task_id, payload.do)
        match payload.do:
            case Do.SLEEP:
                await asyncio.sleep(payload.ms / 1000)
            case Do.SPIN:
                await context.compute(spin, payload.ms)
            case Do.DIE:
                await context.compute(os._exit, 3)
            case Do.FAIL:
                raise PayloadError("it was told to fail", field="do")
            case Do.TIRE:
                raise TransientError("it was told to fail each time")
            case Do.FLAKE if handed == 1:
                raise TransientError("it was told to fail the first time")
        return WorkResult(said=payload.say)

    def _note(self, task_id: str, do: Do) -> int:
        """Note a handing-over, and return how many there were of this task in this stack, this one included."""
        line = msgspec.json.encode(Note(task_id, do, os.getpid(), int(time.time() * 1000))) + b"\n"
        # Whole lines, though several processes append: one write to a file that is open for appending is one piece.
        with self._notes.open("ab", buffering=0) as notes:
            notes.write(line)
        return self._notes.read_bytes().count(task_id.encode()) if do is Do.FLAKE else 1


def spin(ms: int) -> None:
    """Keep a processor busy."""
    end = time.process_time() + ms / 1000
    while time.process_time() < end:
        pass


def read_notes(path: Path) -> list[Note]:
    """Return the handing-overs in order; a process that died in the middle of a line has not handed over."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [msgspec.json.decode(line, type=Note) for line in lines if line.endswith(b"}")]
