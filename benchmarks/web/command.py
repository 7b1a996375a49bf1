"""`python -m benchmarks web`: each part in rounds of ours and the library's by turns, and their report."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from backbone.settings import Settings
from benchmarks.measure import percentile, spread
from benchmarks.plot import Curve, curves
from benchmarks.report import Report, Row, row, say
from benchmarks.web import pages
from benchmarks.web.fetching import Times, fetch
from benchmarks.web.reading import OFFERS, Pair, pairs, rate, source
from streams.compute import ComputePool, Share
from streams.web.work import Mode, read

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: of each side.
        seconds: of CPU a round, of reading.
        calls: of a worker a round.
        requests: of HTTP a round.
    """

    rounds: int
    seconds: float
    calls: int
    requests: int


FULL = Size(rounds=7, seconds=2.0, calls=300, requests=300)
QUICK = Size(rounds=2, seconds=0.2, calls=20, requests=20)


def measure(*, quick: bool, plot: Path | None) -> Report:
    """Return the report; draw how long requests took into `plot` if it is named."""
    size = QUICK if quick else FULL
    rows = [_reading(pair, size) for pair in pairs()]
    rows.append(asyncio.run(_worker(size)))
    say("requests to a server on loopback")
    times = fetch(size.rounds, size.requests)
    rows += [_fetching(times, percent) for percent in (50, 95)]
    if plot is not None:
        _draw(times, plot)
    return Report("web", rows)


def _reading(pair: Pair, size: Size) -> Row:
    say(pair.what)
    pair.ours(), pair.peer()  # the first ones pay for what is loaded late
    ours, peer = [], []
    for _ in range(size.rounds):
        ours.append(rate(pair.ours, size.seconds))
        peer.append(rate(pair.peer, size.seconds))
    return row(pair.what, median(ours), median(peer), peer_name=pair.peer_name, spreads=(spread(ours), spread(peer)))


async def _worker(size: Size) -> Row:
    """Measure what it costs that a page is read in a process that can be killed."""
    what = "selectors, in a process that can be killed, ms a page"
    say(what)
    page = source(pages.listing())
    pool = ComputePool(1, Settings().tiers.realtime.memory_mb)
    share = Share(pool)
    ours, peer = [], []
    try:
        await share(read, page, Mode.SELECTORS, OFFERS)
        for _ in range(size.rounds):
            began = time.perf_counter()
            for _ in range(size.calls):
                await share(read, page, Mode.SELECTORS, OFFERS)
            between = time.perf_counter()
            for _ in range(size.calls):
                read(page, Mode.SELECTORS, OFFERS)
            ours.append((between - began) * 1000 / size.calls)
            peer.append((time.perf_counter() - between) * 1000 / size.calls)
    finally:
        await pool.close()
    return row(
        what, median(ours), median(peer), peer_name="the same in this process", spreads=(spread(ours), spread(peer))
    )


def _fetching(times: Times, percent: int) -> Row:
    ours, peer = ([percentile(each, percent) for each in side] for side in times)
    return row(
        f"a request through the guarded connector, p{percent}, ms",
        median(ours),
        median(peer),
        peer_name="httpx",
        spreads=(spread(ours), spread(peer)),
    )


def _draw(times: Times, plot: Path) -> None:
    lines = []
    for name, colour, rounds in (("Barnabas", "#1b6ca8", times.ours), ("httpx", "#d35d6e", times.peer)):
        every = [each for taken in rounds for each in taken]
        lines.append(Curve(name, [(max(percentile(every, p), 0.01), p / 100) for p in range(1, 101)], colour))
    plot.write_text(curves(lines, title="Share of requests that took at most so many ms"))
