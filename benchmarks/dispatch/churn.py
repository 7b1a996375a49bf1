"""What a worker that is killed, joins or stops cleanly does to the tasks around it: how long they wait, what runs twice.

One worker, then two, share a tier and tasks flow at a steady pace; each handing-over to a handler leaves a line in a file.
"""

from __future__ import annotations

import threading
import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.dispatch.work import Handed, Work, handed
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.dispatch.system import System

HANDED_SECONDS = 30.0


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
        takeover: seconds from the change until the last of the tasks that a killed worker held was handed to another;
            0 where none was killed. It is `pause` where it held none, being faster than the kill, and the limit where
            what it held was not done until then.
        pause: the longest that a task took which was done at all, in seconds from its submit or from the change,
            whichever was later.
        repeats: how often a task was handed to a handler that had been handed to one before.
        missing: tasks that were not done at the limit.
    """

    takeover: float
    pause: float
    repeats: int
    missing: int


class Pace(NamedTuple):
    """How tasks flow meanwhile.

    Attributes:
        per_second: how many come.
        cpu_ms: how long each takes.
        before: seconds for which they flow before a change.
        after: seconds for which they flow after it.
    """

    per_second: float
    cpu_ms: float
    before: float = 2.0
    after: float = 3.0


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

    def join(_log: Path) -> set[int]:
        system.add_worker(Tier.URGENT)
        return set()

    def kill(log: Path) -> set[int]:
        latest = system.workers[Tier.URGENT].pop()
        pids = set(latest.tree())
        _until_handed(log, pids)
        latest.kill()
        return pids

    def restart(log: Path) -> set[int]:
        pids = kill(log)
        system.add_worker(Tier.URGENT)
        return pids

    def stop(_log: Path) -> set[int]:
        system.workers[Tier.URGENT].pop().stop()
        return set()

    changes = [
        (Change.RESTART, restart),
        *((Change.JOIN, join), (Change.KILL, kill)),
        *((Change.JOIN, join), (Change.STOP, stop)),
    ]
    found: dict[str, list[Effect]] = {change: [] for change in Change}
    for number, (kind, change) in enumerate(changes):
        log = folder / f"{number}.handed"
        found[kind].append(_effect(system, change, pace, log, limit))
    return found


def _until_handed(log: Path, pids: set[int]) -> None:
    """Wait until one of these processes is handed a task more.

    Raises:
        TimeoutError: none is.
    """
    seen = len(handed(log))
    end = time.monotonic() + HANDED_SECONDS
    while not any(each.pid in pids for each in handed(log)[seen:]):
        if time.monotonic() > end:
            raise TimeoutError(f"the worker that is to be killed was handed nothing for {HANDED_SECONDS:g} s")
        time.sleep(0.001)


def _effect(system: System, change: Callable[[Path], set[int]], pace: Pace, log: Path, limit: float) -> Effect:
    flow = Flow(system, pace, log)
    flow.start()
    try:
        time.sleep(pace.before)
        began = time.perf_counter()
        killed = change(log)
        time.sleep(pace.after)
    finally:
        flow.end()
    done = system.watch.wait(flow.sent, limit)
    times = [done[task_id] - max(sent, began) for task_id, sent in flow.sent.items() if task_id in done]
    pause = max(times, default=limit)
    lines = handed(log)
    lost = any(line.pid in killed and line.task_id not in done for line in lines)
    return Effect(
        takeover(lines, killed, began, limit if lost else pause) if killed else 0.0,
        pause,
        len(lines) - len({line.task_id for line in lines}),
        len(flow.sent) - len(done),
    )


def takeover(lines: Sequence[Handed], killed: set[int], began: float, otherwise: float) -> float:
    """Return how long after `began` the last of what the killed held was handed to another; `otherwise` if none was."""
    held = {line.task_id for line in lines if line.pid in killed}
    again = [line.at - began for line in lines if line.task_id in held and line.pid not in killed and line.at > began]
    return max(again, default=otherwise)
