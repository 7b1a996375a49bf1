"""Pure: which fault strikes what, and when, drawn from a seed.

kill      SIGKILL; the supervisor starts it again
freeze    SIGSTOP, until past the session time of a consumer; then SIGCONT
restart   SIGTERM: a clean stop; the supervisor starts it again
join      a second process of a tier, or of the timers, comes
leave     and goes again by SIGTERM
vanish    or by SIGKILL
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

TIER = "tier"
TIMERS = "timers"
KAFKA = "kafka"
VALKEY = "valkey"
EDGE = "edge"
MODEL = "inference-worker"
SECOND = "second"

FREEZE_SECONDS = (7.0, 11.0)
"""The session time is 6 s."""


class Blow(StrEnum):
    """What is done to a process."""

    KILL = "kill"
    FREEZE = "freeze"
    RESTART = "restart"
    JOIN = "join"
    LEAVE = "leave"
    VANISH = "vanish"


STRIKES = (Blow.KILL, Blow.FREEZE, Blow.RESTART)
ALL: tuple[tuple[str, Blow], ...] = tuple(
    (target, blow) for target in (TIER, TIMERS, VALKEY, KAFKA, EDGE) for blow in STRIKES
)
"""What may strike the processes of a stack."""
WITH_MODEL = (*ALL, *((MODEL, blow) for blow in STRIKES))
"""And where an inference worker takes part."""
SECONDS = (f"streams-{Tier.URGENT}", f"streams-{Tier.REALTIME}", TIMERS)
"""What a second process may be of."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        after: seconds from the start of the run.
        kind: what it is counted under, such as `kafka kill`.
        process: the name of the process that it strikes, or of which it is a second one.
        blow: what is done.
        seconds: for how long a process is frozen.
        second: whether it strikes the second process, where there is one.
    """

    after: float
    kind: str
    process: str
    blow: Blow
    seconds: float = 0.0
    second: bool = False


def draw(
    rng: Random, *, seconds: float, kinds: Sequence[tuple[str, Blow]] = ALL, each: int = 3, pairs: int = 6
) -> list[Fault]:
    """Return the faults of a run, in order.

    Args:
        rng: decides; the same seed gives the same.
        seconds: over which they are spread; the first and the last tenth are left alone.
        kinds: what may strike.
        each: how often each does.
        pairs: how often a second process comes and goes.
    """
    strikes = [kind for kind in kinds for _ in range(each)]
    rng.shuffle(strikes)
    moments = _moments(rng, len(strikes), seconds)
    drawn = [_strike(rng, after, *strike) for after, strike in zip(moments, strikes, strict=True)]
    visits = _moments(rng, 2 * pairs, seconds)
    for n, (come, go) in enumerate(zip(visits[::2], visits[1::2], strict=True)):
        process = SECONDS[n % len(SECONDS)]
        away = (Blow.LEAVE, Blow.VANISH)[n % 2]
        drawn += [Fault(come, f"{SECOND} {Blow.JOIN}", process, Blow.JOIN)]
        drawn += [Fault(go, f"{SECOND} {away}", process, away)]
    return sorted(drawn, key=lambda fault: fault.after)


def _moments(rng: Random, count: int, seconds: float) -> list[float]:
    """Return moments that are spread evenly, but for chance: each lies somewhere in a slice of its own."""
    begin, width = seconds * 0.1, seconds * 0.8 / max(1, count)
    return [begin + width * (n + rng.random()) for n in range(count)]


def _strike(rng: Random, after: float, target: str, blow: Blow) -> Fault:
    process = f"streams-{rng.choice(list(Tier))}" if target == TIER else target
    seconds = rng.uniform(*FREEZE_SECONDS) if blow is Blow.FREEZE else 0.0
    return Fault(after, f"{target} {blow}", process, blow, seconds, second=rng.random() < 0.5)


class Struck(NamedTuple):
    """A fault that was done: when (seconds since the epoch), and to which process."""

    fault: Fault
    at: float
    pid: int
