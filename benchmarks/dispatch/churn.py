"""What a worker that is killed, joins or stops cleanly does to the tasks around it: how long they wait, what runs twice.

One worker, then two, share a tier and tasks flow at a steady pace; each handing-over to a handler leaves a line in a file.
"""

from __future__ import annotations

import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.dispatch.work import Work, handed
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.dispatch.system import System

BEFORE_SECONDS = 2.0
AFTER_SECONDS = 3.0


class Change(StrEnum):
    """What happens to the fleet."""

    RESTART = "a lone worker is killed (-9) and started again"
    JOIN = "a worker joins"
    KILL = "one of two workers is killed (-9)"
    """and the other takes its tasks over."""
    STOP = "a worker stops cleanly"


class Effect(NamedTuple):
    """What that did.

    Attributes:
        pause: the longest that a task took which was done at all, in seconds from its submit or from the change,
            whichever was later.
        repeats: how often a task was handed to a handler that had been handed to one before.
        missing: tasks that were not done at the limit.
    """

    pause: float
    repeats: int
    missing: int


class Pace(NamedTuple):
    """How tasks flow meanwhile.

    Attributes:
        per_second: how many come.
        cpu_ms: how long each takes.
    """

    per_second: float
    cpu_ms: float


class Flow(threading.Thread):
    """Submits tasks at a steady pace until it is ended."""

    def __init__(self, system: System, pace: Pace, log: Path) -> None:
        super().__init__(name="flow")
        self.sent: dict[str, float] = {}
        self._system = system
        self._work = Work(pace.cpu_ms, log=str(log))
        self._gap = 1 / pace.per_second
        self._ending = threading.Event()

    def run(self) -> None:
        """Submit."""
        due = time.perf_counter()
        while not self._ending.is_set():
            began = time.perf_counter()
            self.sent[self._system.submit(Tier.URGENT, self._work)] = began
            due += self._gap
            time.sleep(max(0.0, due - time.perf_counter()))

    def end(self) -> None:
        """Submit no more."""
        self._ending.set()
        self.join()


def effects(system: System, folder: Path, pace: Pace, limit: float) -> dict[str, list[Effect]]:
    """Kill and start the worker, let a second one join and be killed, another join and stop; return what each did.

    Args:
        system: with one worker of the urgent tier, as it has afterwards.
        folder: empty; for the lists of what was handed over.
        pace: at which tasks flow.
        limit: seconds that tasks may take after a change.
    """

    def join(_log: Path) -> None:
        system.add_worker(Tier.URGENT)

    def kill(log: Path) -> None:
        latest = system.workers[Tier.URGENT].pop()
        pids = set(latest.tree())
        seen = len(handed(log))
        while not any(each.pid in pids for each in handed(log)[seen:]):
            time.sleep(0.001)
        latest.kill()  # a task is in its hands now

    def restart(log: Path) -> None:
        kill(log)
        system.add_worker(Tier.URGENT)

    def stop(_log: Path) -> None:
        system.workers[Tier.URGENT].pop().stop()

    changes = [
        (Change.RESTART, restart),
        *((Change.JOIN, join), (Change.KILL, kill)),
        *((Change.JOIN, join), (Change.STOP, stop)),
    ]
    found: dict[str, list[Effect]] = {change: [] for change in Change}
    for number, (kind, change) in enumerate(changes):
        log = folder / f"{number}.handed"
        found[kind].append(_effect(system, change, Flow(system, pace, log), log, limit))
    return found


def _effect(system: System, change: Callable[[Path], None], flow: Flow, log: Path, limit: float) -> Effect:
    flow.start()
    try:
        time.sleep(BEFORE_SECONDS)
        began = time.perf_counter()
        change(log)
        time.sleep(AFTER_SECONDS)
    finally:
        flow.end()
    done = system.watch.wait(flow.sent, limit)
    times = [done[task_id] - max(sent, began) for task_id, sent in flow.sent.items() if task_id in done]
    lines = handed(log)
    return Effect(
        max(times, default=limit), len(lines) - len({line.task_id for line in lines}), len(flow.sent) - len(done)
    )
