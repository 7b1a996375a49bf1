"""The course that both systems run: rounds of urgent tasks idle and loaded in turn, then costs, then changes of the fleet."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from benchmarks.dispatch import churn, latency, throughput
from benchmarks.dispatch.churn import Change, Effect, Pace
from benchmarks.dispatch.latency import Series
from benchmarks.report import say
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.dispatch.system import System
    from benchmarks.dispatch.throughput import Cost

NICE = 19
LOWER = (Tier.BATCH, Tier.LOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: of each part.
        samples: urgent tasks a round.
        per_second: at which they come.
        backlog: tasks that batch and low hold each.
        trivial: trivial tasks a round.
        cycles: times that the fleet changes in each way.
        pace: at which tasks flow meanwhile.
        patience: seconds that tasks may take after a change of the fleet.
    """

    rounds: int
    samples: int
    per_second: float
    backlog: int
    trivial: int
    cycles: int
    pace: Pace
    patience: float


FULL = Size(
    rounds=5,
    samples=200,
    per_second=10,
    backlog=20_000,
    trivial=10_000,
    cycles=2,
    pace=Pace(per_second=40, cpu_ms=10),
    patience=150,
)
QUICK = Size(
    rounds=1,
    samples=30,
    per_second=40,
    backlog=1_000,
    trivial=1_000,
    cycles=1,
    pace=Pace(per_second=40, cpu_ms=10, before=0.3, after=0.5),
    patience=7.5,
)


@dataclass(slots=True)
class Results:
    """What a system did, by rounds."""

    idle: Series = field(default_factory=Series)
    loaded: Series = field(default_factory=Series)
    niced: Series = field(default_factory=Series)
    costs: list[Cost] = field(default_factory=list)
    effects: dict[str, list[Effect]] = field(default_factory=lambda: {change: [] for change in Change})


def run(systems: Sequence[System], size: Size, folder: Path) -> list[Results]:
    """Run the course and return each system's results. `folder` is for what the tasks write."""
    results = [Results() for _ in systems]
    _start(systems, size)
    pairs = list(zip(systems, results, strict=True))
    for number in range(size.rounds):
        pairs.reverse()  # neither is always the first
        for system, result in pairs:
            taken = latency.urgent(system, size.samples, size.per_second, Random(number))
            result.idle.rounds.append(taken)
            _say_latency(system, "idle", number, size, taken)
        for system, result in pairs:
            result.loaded.rounds.append(_loaded(system, "loaded", size, folder, number))
        for system, result in pairs:
            result.costs.append(throughput.trivial(system, size.trivial))
            say(f"{system.name}: {result.costs[-1].workers:.0f} trivial tasks a CPU-second")
    for system, result in pairs:
        if system.renice(NICE, LOWER):
            niced = [_loaded(system, "loaded and niced", size, folder, number) for number in range(size.rounds)]
            result.niced.rounds.extend(niced)
        system.retire(LOWER)
    for number in range(size.cycles):
        for system, result in pairs:
            _change(system, result, size, folder / f"{system.name}-{number}")
    return results


def _start(systems: Sequence[System], size: Size) -> None:
    say("on either side a worker each for urgent, batch and low")
    every = [(system, tier) for system in systems for tier in (Tier.URGENT, *LOWER)]
    for system, tier in every:
        system.add_worker(tier, wait=False)
    for system, tier in every:
        system.until_ready(tier)
    for system in systems:
        latency.urgent(system, 20, size.per_second, Random(0))  # the first ones pay for what is loaded late


def _loaded(system: System, what: str, size: Size, folder: Path, number: int) -> list[float]:
    with latency.backlog(system, LOWER, size.backlog, folder / f"gate-{number}"):
        taken = latency.urgent(system, size.samples, size.per_second, Random(number))
    _say_latency(system, what, number, size, taken)
    return taken


def _change(system: System, result: Results, size: Size, lists: Path) -> None:
    lists.mkdir()
    for change, found in churn.effects(system, lists, size.pace, size.patience).items():
        result.effects[change] += found
        for effect in found:
            say(f"{system.name}: {change}: {effect}")


def _say_latency(system: System, what: str, number: int, size: Size, taken: list[float]) -> None:
    round_ = Series([taken])
    say(
        f"{system.name}, {what}, round {number + 1} of {size.rounds}:"
        f" p50 {round_.ms(50):.1f}, p99 {round_.ms(99):.1f} ms"
    )
