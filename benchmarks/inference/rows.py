"""The report: ours beside the better peer, the engine over HTTP and the whole path, each by its goal."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Final

from benchmarks.measure import percentile, spread
from benchmarks.report import Row, row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.inference.asking import Heard
    from benchmarks.inference.course import Results

TIMES_THE_PEERS: Final = {1: 1.0, 4: 1.5, 8: 2.5, 16: 3.0}
"""Goal of the tokens a second, by the number of streams."""
MEMORY_MB: Final = 900


def rows(results: Results, engine: str, whole: str, peers: Sequence[str]) -> list[Row]:
    """Return the rows.

    Args:
        results: of the course.
        engine: name of our engine over HTTP.
        whole: name of the whole path.
        peers: theirs.
    """
    counts = sorted({count for _, count in results.waves})
    found: list[Row] = []
    for count in counts:
        for way in (engine, whole):
            found += _streams(results, way, peers, count)
    found += _path(results, engine, whole, counts)
    for way in (engine, whole):
        found += _urgent(results, way)
    return [*found, *_memory(results, engine, whole, peers), *_starts(results, engine, peers)]


def _streams(results: Results, way: str, peers: Sequence[str], count: int) -> list[Row]:
    ours = _per_second(results, way, count)
    by_peer = {peer: _per_second(results, peer, count) for peer in peers}
    fastest = max(peers, key=lambda peer: median(by_peer[peer]))
    ratios = [one / max(each) for one, *each in zip(ours, *by_peer.values(), strict=True)]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    goal = TIMES_THE_PEERS.get(count)
    what = f"{_streams_of(count)}, {way}:"

    def beside_the_first(of: Callable[[Heard], float], percent: float) -> tuple[float, float, str]:
        peer = min(peers, key=lambda name: _of(results, name, count, of, percent))
        return _of(results, way, count, of, percent), _of(results, peer, count, of, percent), peer

    rows = [
        row(
            f"{what} tokens a second",
            median(ours),
            median(by_peer[fastest]),
            peer_name=fastest,
            spreads=(spread(ours), spread(by_peer[fastest])),
        ),
        row(
            f"{what} times the better peer's, median of rounds",
            median(ratios),
            spreads=(spread(ratios),),
            at_least=goal,
            goal=None if goal is None else f"at least {goal:g}",
        ),
        row(f"{what} the same, lower quartile", low),
        row(f"{what} the same, upper quartile", high),
    ]
    for percent in (50, 99):
        own, theirs, peer = beside_the_first(_ttft, percent)
        bound = {"at_most": theirs / 2, "goal": "at most half"} if percent == 50 else {}
        rows.append(row(f"{what} TTFT p{percent} (ms)", own, theirs, peer_name=peer, **bound))  # type: ignore[arg-type]  # a row's fields
    own, theirs, peer = beside_the_first(_tpot, 50)
    return [*rows, row(f"{what} TPOT p50 (ms)", own, theirs, peer_name=peer)]


def _path(results: Results, engine: str, whole: str, counts: Sequence[int]) -> list[Row]:
    """Compare the whole path's time to first token with what the engine alone takes, by its own account."""
    found = []
    for count in counts:
        inner = _of(results, engine, count, lambda heard: heard.engine_ms or 0.0, 50)
        outer = _of(results, whole, count, _ttft, 50)
        found.append(
            row(
                f"{_streams_of(count)}, whole path over the engine's own TTFT, p50 (ms)",
                outer - inner,
                at_most=40 if count == 1 else None,
                goal="at most 40" if count == 1 else None,
            )
        )
    return found


def _urgent(results: Results, way: str) -> list[Row]:
    alone, loaded = results.alone[way], results.loaded[way]
    idle = percentile(alone, 99)
    return [
        row(
            f"{way}: urgent TTFT p50 beside batch streams (ms)",
            percentile(loaded, 50),
            percentile(alone, 50),
            peer_name="alone",
        ),
        row(
            f"{way}: urgent TTFT p99 beside batch streams (ms)",
            percentile(loaded, 99),
            idle,
            peer_name="alone",
            at_most=2 * idle,
            goal="at most 2 times alone",
        ),
    ]


def _memory(results: Results, engine: str, whole: str, peers: Sequence[str]) -> list[Row]:
    smallest = min(peers, key=lambda peer: max(results.memory_mb[peer]))
    return [
        row(
            f"{way}: memory of the process that runs the model, at most (MB)",
            max(results.memory_mb[way]),
            max(results.memory_mb[smallest]),
            peer_name=smallest,
            at_most=MEMORY_MB,
            goal=f"under {MEMORY_MB} MB",
        )
        for way in (engine, whole)
    ]


def _starts(results: Results, engine: str, peers: Sequence[str]) -> list[Row]:
    found = []
    soonest = min(peers, key=lambda peer: median(results.warm[peer]))
    found.append(
        row(
            "start to first token, warm (s)",
            median(results.warm[engine]),
            median(results.warm[soonest]),
            peer_name=soonest,
            spreads=(spread(results.warm[engine]), spread(results.warm[soonest])),
        )
    )
    if results.cold:
        soonest = min(peers, key=lambda peer: results.cold[peer])
        found.append(
            row("start to first token, cold (s)", results.cold[engine], results.cold[soonest], peer_name=soonest)
        )
    return found


def _streams_of(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"


def _per_second(results: Results, way: str, count: int) -> list[float]:
    return [wave.per_second for wave in results.waves[way, count]]


def _of(results: Results, way: str, count: int, of: Callable[[Heard], float], percent: float) -> float:
    return percentile([of(heard) for wave in results.waves[way, count] for heard in wave.heard], percent)


def _ttft(heard: Heard) -> float:
    return heard.ttft_ms


def _tpot(heard: Heard) -> float:
    return heard.tpot_ms
