"""Pure: what a run does, as a whole and in its short form; all that is left to chance is drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.chaos import faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.faults import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does; the same plan asks for the same and strikes the same.

    Attributes:
        seed: decides all that is left to chance.
        tasks: how many are asked for, without the steps that follow and what timers make.
        seconds: over which they are asked for, and faults strike.
        faults: what strikes, and when.
        timers: how many timers fire again and again.
        every_ms: the least and the most time between two slots.
        quiet: seconds that all may take to end once the faults are over.
        model: whether an inference worker takes part, and is asked and struck too.
    """

    seed: int
    tasks: int
    seconds: float
    faults: Sequence[Fault]
    timers: int
    every_ms: tuple[int, int]
    quiet: float
    model: bool = False

    @classmethod
    def whole(cls, seed: int, tasks: int, minutes: float, *, model: bool = False) -> Plan:
        """Return the plan of `make chaos`: each fault at least three times."""
        seconds = minutes * 60
        return cls(
            seed=seed,
            tasks=tasks,
            seconds=seconds,
            faults=faults.draw(Random(seed), seconds=seconds, kinds=faults.WITH_MODEL if model else faults.ALL),
            timers=12,
            every_ms=(1000, 4000),
            quiet=300,
            model=model,
        )

    @classmethod
    def short(cls, seed: int) -> Plan:
        """Return the plan of `make test`: the worst faults, once each."""
        worst = (
            (faults.TIER, faults.Blow.KILL),
            (faults.TIER, faults.Blow.FREEZE),
            (faults.TIMERS, faults.Blow.KILL),
            (faults.VALKEY, faults.Blow.KILL),
            (faults.KAFKA, faults.Blow.KILL),
            (faults.TIER, faults.Blow.RESTART),
        )
        seconds = 20.0
        return cls(
            seed=seed,
            tasks=160,
            seconds=seconds,
            faults=faults.draw(Random(seed), seconds=seconds, kinds=worst, each=1, pairs=1),
            timers=4,
            every_ms=(500, 1000),
            quiet=150,
        )
