"""What the course found, as rows; the goals of the project are checked here."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from backbone.kafka import HEARTBEAT_MS, SESSION_MS
from benchmarks.dispatch.churn import Change
from benchmarks.measure import spread
from benchmarks.report import Row, row
from streams.faust_consumer import FETCH_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.dispatch.churn import Effect
    from benchmarks.dispatch.course import Results
    from benchmarks.dispatch.latency import Series
    from benchmarks.dispatch.throughput import Cost

TAKEOVER_SECONDS = (SESSION_MS + HEARTBEAT_MS + FETCH_MS) / 1000
"""Kafka knows at the end of a session that a member died; the others hear of it with their next heartbeat, and then end
what they fetch."""
RESTART_SECONDS = SESSION_MS / 1000
"""One that is started again is known by its name, and waits for no session to end."""
PEER = "Celery + Redis"
NICED = "Celery + Redis, batch and low under nice 19"


def rows(ours: Results, peer: Results) -> list[Row]:
    """Return the rows of the report."""
    return [*_latency(ours, peer), *_costs(ours, peer), *_changes(ours, peer)]


def _latency(ours: Results, peer: Results) -> list[Row]:
    return [
        *(_percentile("idle", percent, ours.idle, peer.idle) for percent in (50, 95, 99)),
        *(_percentile("under backlog", percent, ours.loaded, peer.loaded) for percent in (50, 95)),
        _percentile("under backlog", 99, ours.loaded, peer.loaded, goal="at or below the peer's"),
        *(_percentile("under backlog", percent, ours.loaded, peer.niced, name=NICED) for percent in (50, 95, 99)),
        row(
            "urgent p99 under backlog / idle",
            ours.loaded.ms(99) / ours.idle.ms(99),
            peer.loaded.ms(99) / peer.idle.ms(99),
            peer_name=PEER,
            at_most=1.5,
            goal="at most 1.5",
        ),
    ]


def _percentile(
    state: str, percent: int, ours: Series, peer: Series, *, name: str = PEER, goal: str | None = None
) -> Row:
    return row(
        f"urgent submit to done, {state}, p{percent}, ms",
        ours.ms(percent),
        peer.ms(percent),
        peer_name=name,
        spreads=(spread(ours.ms_by_round(percent)), spread(peer.ms_by_round(percent))),
        at_most=peer.ms(percent) if goal else None,
        goal=goal,
    )


def _costs(ours: Results, peer: Results) -> list[Row]:
    def cost(metric: str, which: Callable[[Cost], float], goal: str | None = None) -> Row:
        mine, theirs = [which(each) for each in ours.costs], [which(each) for each in peer.costs]
        return row(
            metric,
            median(mine),
            median(theirs),
            peer_name=PEER,
            spreads=(spread(mine), spread(theirs)),
            at_least=2 * median(theirs) if goal else None,
            goal=goal,
        )

    return [
        cost(
            "trivial tasks per CPU-second (ours: worker + Valkey; peer: worker)",
            lambda c: c.workers,
            "twice the peer's",
        ),
        cost("trivial tasks per CPU-second, brokers included", lambda c: c.everything),
    ]


def _changes(ours: Results, peer: Results) -> list[Row]:
    def worst(metric: str, change: Change, which: Callable[[Effect], float], limit: float | None = None) -> Row:
        mine, theirs = [which(each) for each in ours.effects[change]], [which(each) for each in peer.effects[change]]
        return row(
            f"{change}: {metric}",
            max(mine),
            max(theirs),
            peer_name=PEER,
            spreads=(spread(mine), spread(theirs)),
            at_most=limit,
            goal=None if limit is None else f"at most {limit:g}",
        )

    made = []
    for change in Change:
        killed = change in {Change.KILL, Change.RESTART}
        if killed:
            limit = TAKEOVER_SECONDS if change is Change.KILL else RESTART_SECONDS
            made.append(worst("what it held is handed to another, s", change, lambda effect: effect.takeover, limit))
        made += [
            worst("longest wait, s", change, lambda effect: effect.pause),
            worst("tasks handed out twice", change, lambda effect: effect.repeats, None if killed else 0),
            worst("tasks not done in time", change, lambda effect: effect.missing, 0),
        ]
    return made
