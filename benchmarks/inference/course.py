"""The course: rounds in which all ways answer the same streams one after the other, then urgent asks beside a batch load."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from benchmarks.inference.asking import Ask, Heard, prompt
from benchmarks.measure import percentile
from benchmarks.report import say
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from benchmarks.inference.asking import Way
    from benchmarks.inference.peers import Peer
    from benchmarks.inference.server import Server

ALONE_WAVES = 4
"""So many answers one after the other are a round of one stream: a single one is soon over."""
LONGEST_GAP = 0.2
"""Seconds between urgent asks, at most: they come at any point of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: of everything.
        streams: how many answers come at once.
        tokens: of an answer.
        urgent: urgent asks a round, alone and under load.
        load: batch streams that are the load.
    """

    rounds: int
    streams: tuple[int, ...]
    tokens: int
    urgent: int
    load: int


FULL = Size(rounds=4, streams=(1, 4, 8, 16), tokens=64, urgent=40, load=32)
QUICK = Size(rounds=1, streams=(2,), tokens=8, urgent=3, load=4)


@dataclass(frozen=True, slots=True)
class Wave:
    """Answers of one way in one round, as many at once as there are streams."""

    heard: list[Heard]
    seconds: float

    @property
    def per_second(self) -> float:
        """Tokens a second, from the first ask to the last token."""
        return sum(each.tokens for each in self.heard) / self.seconds


@dataclass(slots=True)
class Results:
    """What was found, by the name of the way.

    Attributes:
        waves: by the number of streams, one a round.
        cold: seconds from the first start ever to the first token.
        warm: the same of later starts, each.
        memory_mb: after each wave.
        alone: times to the first token of urgent asks with nothing else there, ms.
        loaded: the same beside the load.
    """

    waves: dict[tuple[str, int], list[Wave]] = field(default_factory=lambda: defaultdict(list))
    cold: dict[str, float] = field(default_factory=dict)
    warm: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory_mb: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    alone: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    loaded: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


async def streams(ways: list[Way], size: Size, results: Results) -> None:
    """Have everyone answer the same numbers of streams, round by round; nobody is always the first.

    Each answers as many before that do not count: who serves has touched its memory, and most are only just started.
    """
    for number in range(size.rounds):
        for count in size.streams:
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                async with way.serving(count) as seconds:
                    if seconds is not None:
                        results.warm[way.name].append(seconds)
                    await _wave(way, count, size.tokens, Random(f"{number} {count} before"))
                    wave = await _wave(way, count, size.tokens, Random(f"{number} {count}"))
                    results.memory_mb[way.name].append(way.pss_mb())
                results.waves[way.name, count].append(wave)
                first = percentile([each.ttft_ms for each in wave.heard], 50)
                say(
                    f"round {number + 1} of {size.rounds}, {count} streams, {way.name}:"
                    f" {wave.per_second:.0f} tokens/s, first after {first:.0f} ms"
                )


async def urgent(way: Way, size: Size, results: Results) -> None:
    """Ask urgently, alone and while batch streams run, in turns."""
    say(f"{way.name}: urgent asks, alone and beside {size.load} batch streams")
    async with way.serving(size.load + 2):
        for number in range(size.rounds):
            chance = Random(number)
            results.alone[way.name] += await _urgent(way, size, chance)
            async with _load(way, size, chance):
                results.loaded[way.name] += await _urgent(way, size, chance)
    for what, taken in (("alone", results.alone), ("under load", results.loaded)):
        p50, p99 = (percentile(taken[way.name], percent) for percent in (50, 99))
        say(f"{way.name}: urgent {what}, p50 {p50:.0f} ms, p99 {p99:.0f} ms")


async def cold(engine: Server, fresh: dict[str, str], peers: Sequence[Peer], results: Results) -> None:
    """Start each as if for the first time: ours with nothing converted and nothing compiled."""
    async with engine.serving(1, fresh) as seconds:
        results.cold[engine.name] = seconds
    for peer in peers:
        peer.forget()
        async with peer.server.serving(1) as seconds:
            results.cold[peer.server.name] = seconds


async def _wave(way: Way, count: int, tokens: int, chance: Random) -> Wave:
    heard: list[Heard] = []
    seconds = 0.0
    for _ in range(ALONE_WAVES if count == 1 else 1):
        answers = await asyncio.gather(*(way.ask(Ask(prompt(chance), tokens)) for _ in range(count)))
        heard += answers
        seconds += max(each.last for each in answers) - min(each.asked for each in answers)
    return Wave(heard, seconds)


async def _urgent(way: Way, size: Size, chance: Random) -> list[float]:
    taken = []
    for _ in range(size.urgent):
        await asyncio.sleep(chance.uniform(0, LONGEST_GAP))
        taken.append((await way.ask(Ask(prompt(chance), 1, Tier.URGENT))).ttft_ms)
    return taken


@asynccontextmanager
async def _load(way: Way, size: Size, chance: Random) -> AsyncIterator[None]:
    """Keep batch streams running: who has an answer asks again. They are let finish at the end."""
    over = asyncio.Event()

    async def again() -> None:
        while not over.is_set():
            await way.ask(Ask(prompt(chance), size.tokens, Tier.BATCH))

    async with asyncio.TaskGroup() as group:
        for _ in range(size.load):
            group.create_task(again())
        # Once it is this one's turn, all of them have had theirs.
        await way.ask(Ask(prompt(chance), 1, Tier.BATCH))
        yield
        over.set()
