"""Runs every scenario, says how admission bore it, and draws it.

Times are the simulation's: they follow from the seed and the model of a step, and are the same on every machine. Only
the time that deciding takes is this machine's own.
"""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

from benchmarks.admission.arrivals import CONTEXT, SCENARIOS, Arrival, usual
from benchmarks.admission.picture import Measure, picture
from benchmarks.admission.simulation import STEP_MS, TOKEN_MS, Outcome, Simulation
from benchmarks.measure import percentile
from benchmarks.plot import Curve
from benchmarks.report import Report, Row, row, say
from inference_worker.engine import CHUNK
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from benchmarks.admission.simulation import Sample

SECONDS, QUICK_SECONDS = 120.0, 15.0
SLOTS = 8
CACHE = {"random": 0.2, "a flood of urgent": 0.2, "long prompts": 0.4}
"""Where less may be held than all places could, as a share of that."""
DRAWN = ("random", "a flood of urgent", "long prompts")
COLOURS = dict(zip(Tier, ("#d35d6e", "#e0a030", "#1b6ca8", "#5aa469"), strict=True))
BUSY_SLOTS, BUSY_WAITING, BUSY_STEPS = 20, 1000, 2000
"""16 of 20 slots run where urgent has nothing to do."""


def measure(*, quick: bool, plot: Path | None) -> Report:
    """Simulate, and return what was found.

    Args:
        quick: whether a short time does.
        plot: an SVG file of what waits, of low's share and of the cache, over time.
    """
    seconds = QUICK_SECONDS if quick else SECONDS
    outcomes: dict[str, Outcome] = {}
    for name, arrivals in SCENARIOS.items():
        say(f"{name}: {seconds:.0f} s")
        outcomes[name] = _simulate(arrivals(Random(1), seconds), seconds, CACHE.get(name, 1.0))
    rows = [
        *_waiting(outcomes["random"], _alone(seconds)),
        *_low(outcomes),
        *_fairness(seconds),
        *_steps(outcomes),
        *_deadlines(outcomes),
        *_calm(outcomes),
        _deciding(),
    ]
    if plot is not None:
        plot.write_text(_picture({name: outcomes[name].samples for name in DRAWN}))
    return Report("admission", rows)


def _simulate(arrivals: Iterable[Arrival], seconds: float, cache: float = 1.0) -> Outcome:
    return Simulation(slots=SLOTS, context=CONTEXT, cache=cache).run(arrivals, seconds)


def _alone(seconds: float) -> Outcome:
    """Run the same urgent requests with nothing else there."""
    return _simulate((one for one in usual(Random(1), seconds) if one.tier is Tier.URGENT), seconds)


def _waiting(loaded: Outcome, alone: Outcome) -> list[Row]:
    idle = percentile(alone.first_token[Tier.URGENT], 99)
    rows = [
        row(
            "random: urgent, first token p99 (ms)",
            percentile(loaded.first_token[Tier.URGENT], 99),
            idle,
            peer_name="the same requests alone",
            at_most=2 * idle,
            goal="at most 2 times alone",
        )
    ]
    return rows + [
        row(f"random: {tier}, first token p{percent} (ms)", percentile(waits, percent))
        for tier in Tier
        for percent in (50, 99)
        if (tier, percent) != (Tier.URGENT, 99) and (waits := loaded.first_token[tier])
    ]


def _low(outcomes: dict[str, Outcome]) -> list[Row]:
    return [
        row(
            f"{name}: least share of low in any 20 steps (%)",
            100 * one.least_low,
            at_least=5,
            goal="5 % while it has work",
        )
        for name, one in outcomes.items()
    ]


def _fairness(seconds: float) -> list[Row]:
    """Compare how long the modest wait beside a greedy owner with how long if nobody asked whose a request is."""
    arrivals = list(SCENARIOS["a greedy owner"](Random(1), seconds))
    fair = _simulate(arrivals, seconds)
    by_deadline = Simulation(slots=SLOTS, context=CONTEXT, fair=False).run(arrivals, seconds)
    return [
        row(
            "a greedy owner: the others' first token p99 (ms)",
            percentile(_of_the_modest(fair), 99),
            percentile(_of_the_modest(by_deadline), 99),
            peer_name="earliest deadline first over all",
            at_most=2000,
            goal="a place that gets free is theirs",
        ),
        row("a greedy owner: their own first token p99 (ms)", percentile(fair.by_owner["greedy"], 99)),
    ]


def _of_the_modest(outcome: Outcome) -> list[float]:
    return [wait for owner, waits in outcome.by_owner.items() if owner != "greedy" for wait in waits]


def _steps(outcomes: dict[str, Outcome]) -> list[Row]:
    longest_step = STEP_MS + TOKEN_MS * (CHUNK + SLOTS + 1)
    return [
        row(
            f"{name}: longest time between tokens of urgent and realtime that run (ms)",
            outcomes[name].longest_gap,
            at_most=longest_step + 0.001,
            goal="one step of a full chunk",
        )
        for name in ("random", "long prompts")
    ]


def _deadlines(outcomes: dict[str, Outcome]) -> list[Row]:
    tight = outcomes["tight deadlines"]
    rows = [
        row(
            "steps that a sequence took after its deadline, all scenarios",
            sum(one.past_deadline for one in outcomes.values()),
            at_most=0,
            goal="none",
        )
    ]
    return rows + [
        row(
            f"tight deadlines: {tier}, ended in time (%)",
            100 * tight.in_time[tier] / max(1, tight.in_time[tier] + tight.late[tier]),
        )
        for tier in Tier
    ]


def _calm(outcomes: dict[str, Outcome]) -> list[Row]:
    rows = []
    for name, one in outcomes.items():
        ended = sum(one.in_time.values()) + sum(one.late.values())
        rows += [
            row(f"{name}: pauses for each that ended", one.pauses / max(1, ended)),
            row(f"{name}: evictions for each that ended", one.evictions / max(1, ended), at_most=1, goal="at most 1"),
            row(f"{name}: tokens computed again (%)", 100 * one.again / one.computed),
            row(
                f"{name}: most of the cache that was held (%)",
                100 * one.most_cache,
                at_most=100,
                goal="within the bound",
            ),
        ]
    return rows


def _deciding() -> Row:
    """Measure the time that a step's decision takes with 16 running and 1,000 waiting."""
    busy = Simulation(slots=BUSY_SLOTS, context=CONTEXT)
    took: list[float] = []
    chance = Random(1)
    for number in range(BUSY_WAITING + BUSY_SLOTS):
        busy.add(_batch(chance, number))
    while len(took) < BUSY_STEPS:
        began = time.perf_counter()
        busy.step()
        took.append(time.perf_counter() - began)
        for number in range(BUSY_WAITING - busy.waiting):
            busy.add(_batch(chance, number))
    return row(
        "deciding on a step, 16 running and 1,000 waiting, p50 (ms)",
        percentile(took, 50) * 1000,
        at_most=0.5,
        goal="at most 0.5 ms",
    )


def _batch(chance: Random, number: int) -> Arrival:
    return Arrival(0, Tier.BATCH, f"owner {number % 100}", chance.randint(20, 120), chance.randint(16, 112))


def _picture(samples: dict[str, list[Sample]]) -> str:
    def column(of: Callable[[Sample], float | None], colour: str, name: str = "") -> dict[str, Curve]:
        return {
            scenario: Curve(name, [(one.at / 1000, y) for one in each if (y := of(one)) is not None], colour)
            for scenario, each in samples.items()
        }

    waiting = [column(_waiting_of(tier), COLOURS[tier], tier.value) for tier in Tier]
    low = column(lambda one: one.low, COLOURS[Tier.LOW])
    cache = column(lambda one: one.cache, "#555555")
    return picture(
        [
            Measure("waiting or paused", False, None, {each: [one[each] for one in waiting] for each in samples}),
            Measure("steps that low takes part in", True, 0.05, {each: [low[each]] for each in samples}),
            Measure("the cache, of what it may hold", True, None, {each: [cache[each]] for each in samples}),
        ],
        title="Admission over simulated time, with 8 slots",
    )


def _waiting_of(tier: Tier) -> Callable[[Sample], float]:
    return lambda sample: sample.waiting[tier.rank]
