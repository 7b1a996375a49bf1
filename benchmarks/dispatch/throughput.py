"""What a task costs that does nothing: tasks per CPU-second of the processes that bring it to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.measure import cpu_seconds
from schemas.tiers import Tier

if TYPE_CHECKING:
    from benchmarks.dispatch.system import System

LIMIT_SECONDS = 300.0


class Cost(NamedTuple):
    """Trivial tasks per CPU-second.

    Attributes:
        workers: of all but the broker and the client.
        everything: of all but the client.
    """

    workers: float
    everything: float


def trivial(system: System, count: int) -> Cost:
    """Bring trivial tasks to their end, and return what they cost.

    Raises:
        RuntimeError: one failed or got lost.
    """
    roles = system.charged()
    before = {role: cpu_seconds(pids) for role, pids in roles.items()}
    ids = system.submit_many(Tier.BATCH, None, count)
    done = system.watch.wait(ids, LIMIT_SECONDS)
    used = {role: cpu_seconds(pids) - before[role] for role, pids in roles.items()}
    if len(done) < count:
        raise RuntimeError(f"{system.name}: {count - len(done)} trivial tasks were never done")
    return Cost(count / used["workers"], count / sum(used.values()))
