"""What arrives, made by a seeded generator: the same requests in every run.

`random` is what admission is for, the others are against it: a flood of urgent, an owner who asks for much and wants it
soonest, prompts as long as they may be, deadlines that can't all be met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.settings import TierTable
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request.

    Attributes:
        at: when it comes, ms.
        tier: its tier.
        owner: whose it is.
        prompt: tokens of the prompt.
        answer: tokens of the answer.
        deadline: ms from when it comes; None means its tier's.
    """

    at: float
    tier: Tier
    owner: str
    prompt: int
    answer: int
    deadline: float | None = None

    @property
    def ends_by(self) -> int:
        """When it must have ended, ms."""
        own = TierTable()[self.tier].deadline.total_seconds() * 1000
        return int(self.at + (own if self.deadline is None else self.deadline))


def usual(chance: Random, seconds: float) -> Iterator[Arrival]:
    """Yield about as much as can be done, of all tiers, each now and then; urgent and realtime are a small part of it."""
    for tier, rate in zip(Tier, (1.3, 2.6, 9.0, 2.6), strict=True):
        yield from _now_and_then(chance, tier, rate, 0, seconds)


def urgent_flood(chance: Random, seconds: float) -> Iterator[Arrival]:
    """Yield the usual, and in the middle third of the time three times as much urgent work as can be done."""
    yield from usual(chance, seconds)
    yield from _now_and_then(chance, Tier.URGENT, 40, seconds / 3, seconds / 3)


def greedy_owner(chance: Random, seconds: float) -> Iterator[Arrival]:
    """Yield for one owner all that can be done in the time, at once and due soon; for others a request every second."""
    for _ in range(int(10 * seconds)):
        yield _request(chance, Tier.BATCH, 0, owner="greedy", deadline=seconds * 10_000)
    for second in range(1, int(seconds)):
        yield _request(chance, Tier.BATCH, second * 1000, owner=f"modest {second % 10}")


def long_prompts(chance: Random, seconds: float) -> Iterator[Arrival]:
    """Yield prompts that fill a place, beside a few usual requests of the higher tiers."""
    for tier in (Tier.BATCH, Tier.LOW, Tier.URGENT):
        for each in _now_and_then(chance, tier, 0.7 if tier is Tier.BATCH else 0.2, 0, seconds):
            yield Arrival(each.at, tier, each.owner, chance.randint(1500, CONTEXT - 100), 64)
    for tier in (Tier.URGENT, Tier.REALTIME):
        yield from _now_and_then(chance, tier, 1, 0, seconds)


def tight_deadlines(chance: Random, seconds: float) -> Iterator[Arrival]:
    """Yield twice as much as can be done, all of which is to end about as soon as it could."""
    for tier in Tier:
        for each in _now_and_then(chance, tier, 5, 0, seconds):
            yield Arrival(each.at, tier, each.owner, each.prompt, each.answer, chance.uniform(200, 3000))


SCENARIOS: dict[str, Callable[[Random, float], Iterator[Arrival]]] = {
    "random": usual,
    "a flood of urgent": urgent_flood,
    "a greedy owner": greedy_owner,
    "long prompts": long_prompts,
    "tight deadlines": tight_deadlines,
}


def _now_and_then(chance: Random, tier: Tier, rate: float, start: float, seconds: float) -> Iterator[Arrival]:
    """Yield requests that come independently of each other, so many a second."""
    at = start
    while (at := at + chance.expovariate(rate)) < start + seconds:
        yield _request(chance, tier, at * 1000, owner=f"owner {chance.randrange(20)}")


def _request(chance: Random, tier: Tier, at: float, *, owner: str, deadline: float | None = None) -> Arrival:
    return Arrival(at, tier, owner, chance.randint(20, 120), chance.randint(16, 112), deadline)
