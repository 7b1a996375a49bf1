"""The port of a system under test: what the course needs of Barnabas and of its peer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from barnabas.local.child import LEASH

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from benchmarks.dispatch.work import Work
    from schemas.tiers import Tier

START_SECONDS = 90.0
STOP_SECONDS = 60.0


class Watch:
    """Collects when tasks were done, as whoever submitted them hears of it."""

    def __init__(self) -> None:
        self._done: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self._changed = threading.Condition()
        self._awaited: set[str] = set()

    def note(self, task_id: str, *, failed: str = "") -> None:
        """Take down that a task is done now; the first time counts."""
        now = time.perf_counter()
        with self._changed:
            self._done.setdefault(task_id, now)
            if failed:
                self._failed[task_id] = failed
            self._awaited.discard(task_id)
            if not self._awaited:
                self._changed.notify_all()

    def done(self, ids: Collection[str]) -> int:
        """Return how many of these tasks are done."""
        with self._changed:
            return len(self._done.keys() & set(ids))

    def wait(self, ids: Collection[str], limit: float) -> dict[str, float]:
        """Wait until tasks are done, return when each was and forget it; those missing at the limit are left out.

        Raises:
            RuntimeError: one of them failed: what would be measured is not what was meant.
        """
        with self._changed:
            self._awaited = set(ids) - self._done.keys()
            self._changed.wait_for(lambda: not self._awaited, limit)
            if failed := self._failed.keys() & set(ids):
                raise RuntimeError(f"{len(failed)} tasks did not succeed: {self._failed[min(failed)]}")
            return {task_id: self._done.pop(task_id) for task_id in ids if task_id in self._done}


class Worker:
    """A process that takes tasks. It ends when the benchmark does, however that ends."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        leash = (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()))
        with log.open("ab") as file:
            self._process = subprocess.Popen((*leash, *command), env=environment, stdout=file, stderr=file)
        self._log = log
        self.pid = self._process.pid

    def tree(self) -> list[int]:
        """Return its process id and those below it."""
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    def check(self) -> None:
        """Raise RuntimeError if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a worker ended by itself; the end of its log:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Ask it to finish what it has, and wait until it is gone."""
        self._process.terminate()
        self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it and what runs below it at once, as when its machine dies."""
        for pid in self.tree():
            with suppress(ProcessLookupError):  # what runs below may end with its parent
                os.kill(pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def close(self) -> None:
        """Make sure that it is gone."""
        if self._process.poll() is None:
            self.kill()


class System(ABC):
    """A way to get tasks to handlers."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watch = Watch()
        self.workers: dict[Tier, list[Worker]] = {}

    @abstractmethod
    def submit(self, tier: Tier, work: Work | None) -> str:
        """Submit a task, a trivial one if it has no work, and return its id."""

    @abstractmethod
    def submit_many(self, tier: Tier, work: Work | None, count: int) -> list[str]:
        """Submit many of the same and return their ids; all are with the broker then."""

    @abstractmethod
    def ready(self, tier: Tier, workers: Sequence[Worker]) -> bool:
        """Whether these workers take tasks of the tier."""

    @abstractmethod
    def charged(self) -> dict[str, list[int]]:
        """Return the processes by role: `workers` (with what decides outcomes) and `brokers`."""

    @abstractmethod
    def command(self, tier: Tier, *, lone: bool) -> tuple[list[str], Mapping[str, str]]:
        """Return the command line of a worker of the tier, and its environment; `lone`: the tier has no other."""

    def drop(self, tiers: Sequence[Tier]) -> bool:  # noqa: ARG002 - of those who can
        """Take the backlogs of tiers away, if there is a way to, and return whether they are gone."""
        return False

    def renice(self, nice: int, tiers: Sequence[Tier]) -> bool:  # noqa: ARG002 - of those who can
        """Give the workers of these tiers another `nice`, if the system leaves that to its user; return whether."""
        return False

    def add_worker(self, tier: Tier, *, wait: bool = True) -> Worker:
        """Start one more worker of a tier."""
        fleet = self.workers.setdefault(tier, [])
        number = len(list(self.folder.glob("*.log")))
        worker = Worker(*self.command(tier, lone=not fleet), self.folder / f"{tier}-{number}.log")
        fleet.append(worker)
        if wait:
            self.until_ready(tier)
        return worker

    def until_ready(self, tier: Tier) -> None:
        """Wait until all workers of a tier take tasks.

        Raises:
            RuntimeError: one ended.
            TimeoutError: they don't.
        """
        end = time.monotonic() + START_SECONDS
        while not self.ready(tier, self.workers[tier]):
            for worker in self.workers[tier]:
                worker.check()
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name}: the workers of {tier} did not get ready")
            time.sleep(0.05)

    def retire(self, tiers: Sequence[Tier]) -> None:
        """Stop the workers of these tiers."""
        for tier in tiers:
            for worker in self.workers.pop(tier):
                worker.stop()

    def close(self) -> None:
        """End what was started."""
        for fleet in self.workers.values():
            for worker in fleet:
                worker.close()
