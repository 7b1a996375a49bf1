"""How long an urgent task takes from submit to done, while nothing else is there and while lower tiers hold a backlog.

Urgent tasks arrive as people's requests do, independently of one another (exponential gaps, the same for both systems),
and none waits for the one before it to be done.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.dispatch.work import Work
from benchmarks.measure import percentile
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from random import Random

    from benchmarks.dispatch.system import System

CPU_MS = 5.0
DRAIN_SECONDS = 300.0


@dataclass(slots=True)
class Series:
    """Seconds from submit to done, in rounds."""

    rounds: list[list[float]] = field(default_factory=list)

    def ms(self, percent: float) -> float:
        """Return a percentile of all samples, in ms."""
        return percentile([sample for samples in self.rounds for sample in samples], percent) * 1000

    def ms_by_round(self, percent: float) -> list[float]:
        """Return that percentile of each round, in ms."""
        return [percentile(samples, percent) * 1000 for samples in self.rounds]


def urgent(system: System, samples: int, per_second: float, random: Random) -> list[float]:
    """Submit urgent tasks and return how long each took, in seconds.

    Raises:
        RuntimeError: one failed or got lost.
    """
    sent: dict[str, float] = {}
    due = time.perf_counter()
    for _ in range(samples):
        due += random.expovariate(per_second)
        time.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        sent[system.submit(Tier.URGENT, Work(CPU_MS))] = began
    done = system.watch.wait(sent, 60)
    if len(done) < samples:
        raise RuntimeError(f"{system.name}: {samples - len(done)} urgent tasks were never done")
    return [done[task_id] - began for task_id, began in sent.items()]


@contextmanager
def backlog(system: System, tiers: Sequence[Tier], count: int, gate: Path) -> Iterator[None]:
    """Keep tasks waiting in each of these tiers; they are gone afterwards.

    Raises:
        RuntimeError: a tier had none left before the end, or they did not go.
    """
    gate.touch()
    waiting = Work(CPU_MS, gate=str(gate))
    ids = {tier: system.submit_many(tier, waiting, count) for tier in tiers}
    yield
    for tier in tiers:
        if system.watch.done(ids[tier]) == count:
            raise RuntimeError(f"{system.name}: the backlog of {tier} ran dry, so that nothing was measured under it")
    gate.unlink()
    if not system.drop(tiers):
        every = [task_id for of_tier in ids.values() for task_id in of_tier]
        left = len(every) - len(system.watch.wait(every, DRAIN_SECONDS))
        if left:
            raise RuntimeError(f"{system.name}: {left} tasks of the backlog were never done")
