"""What came of a run: counts, outages and pauses by kind of fault, repeats, and every promise that was broken.

As a table for people, as one object for programs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tests.chaos.faults import EDGE
from tests.chaos.stillness import Sign, stillness

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from tests.chaos.faults import Struck
    from tests.chaos.ledger import Ledger
    from tests.chaos.plugin.chaos_work import Note
    from tests.chaos.promises import Broken

NO_FAULT = "no fault"


@dataclass(frozen=True, slots=True)
class FaultRow:
    """A kind of fault: how often it struck, what it cost, in seconds, and what was handed over again because of it."""

    kind: str
    times: int
    outage_median: float | None
    outage_max: float | None
    pause_median: float
    pause_max: float
    handed_again: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run.

    Attributes:
        seed: of the run.
        accepted: what was asked for and accepted, by row of the mix.
        asked_again: how often something had to be asked for again.
        ends: tasks by how they ended, steps and slots included.
        slots: slots by what became of them.
        repeats: records that came again, the same, by what they are; readers pass them over.
        contradictions: slots of which a later Fire tells otherwise than the first; readers pass that over.
        handed: how many handing-overs of the kind `chaos.work` there were.
        handed_again: how many of these were again of the same attempt, by what the task was told to do.
        faults: by kind.
        broken: the promises that were not kept.
    """

    seed: int
    accepted: dict[str, int]
    asked_again: int
    ends: dict[str, int]
    slots: dict[str, int]
    repeats: dict[str, int]
    contradictions: int
    handed: int
    handed_again: dict[str, int]
    faults: list[FaultRow]
    broken: list[Broken]

    def json(self) -> dict[str, Any]:
        """Return it as one object."""
        return {
            "name": "chaos",
            **asdict(self),
            "broken": [one._asdict() for one in self.broken],
        }

    def table(self) -> RenderableType:
        """Return it for people."""
        return Group(
            _counts("accepted", self.accepted),
            _counts("ended", self.ends),
            _counts("slots", self.slots),
            _counts("repeats", {**self.repeats, "contradicting Fires": self.contradictions}),
            _counts("handed over again, the same attempt", self.handed_again or {"none": 0}),
            self._faults(),
            self._verdict(),
        )

    def _faults(self) -> Table:
        table = Table(title="faults", title_justify="left", box=None, pad_edge=False, header_style="dim")
        for heading in ("fault", "times", "outage s", "max", "pause s", "max", "handed over again"):
            table.add_column(heading, justify="left" if heading == "fault" else "right")
        for row in self.faults:
            times = (row.outage_median, row.outage_max, row.pause_median, row.pause_max)
            table.add_row(
                row.kind, str(row.times), *("" if s is None else f"{s:.1f}" for s in times), str(row.handed_again)
            )
        return table

    def _verdict(self) -> Text:
        if not self.broken:
            return Text(f"every promise was kept (seed {self.seed})", style="green")
        lines = [f"{one.promise}: {one.of}: {one.found}" for one in self.broken]
        return Text("\n".join([f"{len(lines)} times a promise was broken (seed {self.seed})", *lines]), style="red")


def _counts(title: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=36)
    table.add_column(justify="right")
    for name, many in sorted(counts.items()):
        table.add_row(name, f"{many:,}")
    return table


def make_report(
    *,
    seed: int,
    ledger: Ledger,
    broken: list[Broken],
    accepted: Mapping[str, int],
    again: int,
    accepted_at: Sequence[float],
    struck: Sequence[Struck],
    signs: Sequence[Sign],
    notes: Sequence[Note],
) -> Report:
    """Count.

    Args:
        seed: of the run.
        ledger: of all topics.
        broken: the promises that were not kept.
        accepted: how much was accepted, by row of the mix.
        again: how often something had to be asked for again.
        accepted_at: when the edge accepted something, in seconds since the epoch.
        struck: the faults.
        signs: of life, as they were read.
        notes: of each handing-over, in order.
    """
    repeated = handed_again(ledger, notes)
    timers = [timer_id for timer_id in ledger.fires if timer_id in ledger.timers]
    return Report(
        seed=seed,
        accepted=dict(accepted),
        asked_again=again,
        ends=dict(Counter(ends[0].status.value for ends in ledger.ends.values())),
        slots=dict(Counter(fire.outcome.value for one in timers for fire in ledger.told(one).values())),
        repeats={
            "terminal events": sum(len(ends) - 1 for ends in ledger.ends.values()),
            "Fires": sum(ledger.fires_again(one) for one in timers),
            "dead letters": sum(len(letters) - 1 for letters in ledger.letters.values()),
            "dead letters of garbage": len(ledger.unread) - len(set(ledger.unread)),
        },
        contradictions=sum(len(ledger.contradictions(one)) for one in timers),
        handed=len(notes),
        handed_again=dict(Counter(again.do for _, again in repeated)),
        faults=_fault_rows(struck, signs, accepted_at, Counter(blame(struck, *pair) for pair in repeated)),
        broken=broken,
    )


def handed_again(ledger: Ledger, notes: Sequence[Note]) -> list[tuple[Note, Note]]:
    """Return each handing-over that was one more than its task had attempts, after the one before it."""
    by_task: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        by_task[note.task_id].append(note)
    return [
        pair
        for task_id, handed in by_task.items()
        for pair in list(pairwise(handed))[max(1, ledger.attempts[task_id]) - 1 :]
    ]


def blame(struck: Sequence[Struck], before: Note, again: Note) -> str:
    """Return the kind of fault that a handing-over again is put down to.

    That is the last one before it that struck the process which had the task first, else the last one of all.
    """
    earlier = [one for one in struck if one.at * 1000 <= again.at]
    mine = [one for one in earlier if one.pid == before.pid]
    return (mine or earlier)[-1].fault.kind if earlier else NO_FAULT


def _fault_rows(
    struck: Sequence[Struck], signs: Sequence[Sign], accepted_at: Sequence[float], blamed: Counter[str]
) -> list[FaultRow]:
    doors = [Sign(EDGE, 0, "", at, at) for at in sorted(accepted_at)]
    by_kind = defaultdict(list)
    for one in struck:
        # What the edge does is seen by what it accepts, whatever the workers do.
        by_kind[one.fault.kind].append(stillness(one, doors if one.fault.process == EDGE else signs))
    rows = []
    for kind in sorted(by_kind.keys() | blamed.keys()):
        still = by_kind[kind]
        outages = [one.outage for one in still if one.outage is not None]
        pauses = [one.pause for one in still]
        rows.append(
            FaultRow(
                kind=kind,
                times=len(still),
                outage_median=round(median(outages), 2) if outages else None,
                outage_max=round(max(outages), 2) if outages else None,
                pause_median=round(median(pauses), 2) if pauses else 0.0,
                pause_max=round(max(pauses), 2) if pauses else 0.0,
                handed_again=blamed[kind],
            )
        )
    return rows
