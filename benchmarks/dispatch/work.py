"""What a task does, the same in both systems: use some CPU, and leave a line each time that it is handed to a handler."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec


class Work(msgspec.Struct, frozen=True):
    """The payload of a task that works.

    Attributes:
        cpu_ms: CPU time that it uses.
        gate: a file; once it is gone, a task that still waits does nothing. It empties a backlog after its round.
        log: a file that gets a line when the task is handed to a handler.
    """

    cpu_ms: float
    gate: str = ""
    log: str = ""


class Handed(NamedTuple):
    """A task was handed to a handler.

    Attributes:
        task_id: of the task.
        pid: of the handler's process.
        at: when, by a clock that the processes of a machine share (`time.perf_counter`, which is CLOCK_MONOTONIC).
    """

    task_id: str
    pid: int
    at: float


def work(task_id: str, cpu_ms: float, gate: str, log: str) -> None:
    """Do what a task does; the arguments are those of `Work`."""
    if log:
        with Path(log).open("ab", buffering=0) as file:
            file.write(f"{task_id} {os.getpid()} {time.perf_counter()}\n".encode())
    if gate and not Path(gate).exists():
        return
    end = time.thread_time() + cpu_ms / 1000
    while time.thread_time() < end:
        pass


def handed(log: Path) -> list[Handed]:
    """Return who was handed what, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [Handed(task_id, int(pid), float(at)) for task_id, pid, at in (line.split() for line in lines)]
