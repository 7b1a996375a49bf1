"""What is measured: how long what a fault hit stood still, and what was handed over again because of which fault."""

from __future__ import annotations

import io
import json

from rich.console import Console

from tests.chaos.faults import Blow, Fault, Struck
from tests.chaos.ledger import Ledger
from tests.chaos.plugin.chaos_work import Note
from tests.chaos.promises import Broken
from tests.chaos.report import NO_FAULT, blame, handed_again, make_report
from tests.chaos.stillness import Sign, Stillness, stillness

KILLED = Struck(Fault(0, "tier kill", "streams-low", Blow.KILL), at=10.0, pid=7)


def sign(at: float, partition: int = 1, worker: str = "h:7", made_at: float | None = None, source: str = "low") -> Sign:
    return Sign(source, partition, worker, at if made_at is None else made_at, at)


def test_an_outage_lasts_until_a_partition_of_the_process_that_was_hit_is_served_again():
    signs = [
        sign(9.0),
        sign(9.5, partition=2, worker="h:8"),
        sign(10.1, made_at=9.9),  # on its way when it was killed
        sign(10.5, partition=2, worker="h:8"),  # another process's partition
        sign(11.0, source="urgent"),
        sign(14.0, worker="h:9"),
        sign(20.0, worker="h:9"),
        sign(60.0, worker="h:9"),  # another time's silence
    ]
    assert stillness(KILLED, signs) == Stillness(outage=4.0, pause=6.0)


def test_a_server_hits_everybody():
    struck = Struck(Fault(0, "kafka kill", "kafka", Blow.KILL), at=10.0, pid=3)
    assert stillness(struck, [sign(9), sign(13, source="urgent"), sign(18)]) == Stillness(outage=3.0, pause=5.0)


def test_an_outage_that_did_not_end_has_no_length():
    assert stillness(KILLED, [sign(9.0)]) == Stillness(outage=None, pause=0.0)


def test_a_long_outage_is_a_pause_too():
    assert stillness(KILLED, [sign(9.0), sign(50.0)]) == Stillness(outage=40.0, pause=40.0)


def test_a_handing_over_beyond_the_attempts_is_one_again():
    tried = Ledger(attempts={"a": 1, "b": 2})
    notes = [
        Note(one, "pass", pid, at) for at, (one, pid) in enumerate([("a", 1), ("b", 1), ("b", 1), ("a", 2), ("b", 3)])
    ]
    assert [(before.pid, again.pid) for before, again in handed_again(tried, notes)] == [(1, 2), (1, 3)]


def test_a_handing_over_again_is_put_down_to_the_fault_that_struck_who_had_the_task_else_to_the_last_one():
    later = Struck(Fault(0, "valkey kill", "valkey", Blow.KILL), at=12.0, pid=2)
    had, others = Note("a", "pass", KILLED.pid, 9_000), Note("a", "pass", 5, 9_000)
    again, before_all = Note("a", "pass", 8, 13_000), Note("a", "pass", 8, 9_500)
    assert blame([KILLED, later], had, again) == "tier kill"
    assert blame([KILLED, later], others, again) == "valkey kill"
    assert blame([KILLED, later], had, before_all) == NO_FAULT


def test_a_report_counts_repeats_and_tells_what_was_broken(world):
    world.rows += [row for row in world.rows if row[2] is not None]
    report = make_report(
        seed=7,
        ledger=world.ledger,
        broken=[Broken("each task ends", "x", "none")],
        accepted={"passes": 1},
        again=3,
        accepted_at=[11.0, 13.5],
        struck=[KILLED, Struck(Fault(0, "edge kill", "edge", Blow.KILL), at=12.0, pid=2)],
        signs=[sign(9.0), sign(14.0, worker="h:9")],
        notes=[Note("one", "pass", 7, 9_000), Note("one", "pass", 9, 14_000)],
    )
    assert report.ends == {"succeeded": 6, "failed": 1}
    assert report.slots == {"fired": 1, "skipped": 2, "late": 1}
    assert report.repeats == {"terminal events": 7, "Fires": 3, "dead letters": 1, "dead letters of garbage": 1}
    assert [(row.kind, row.outage_max, row.handed_again) for row in report.faults] == [
        ("edge kill", 1.5, 0),
        ("tier kill", 4.0, 1),
    ]
    assert report.json()["broken"] == [{"promise": "each task ends", "of": "x", "found": "none"}]
    assert json.loads(json.dumps(report.json())) == report.json()
    told = Console(width=120, record=True, file=io.StringIO())
    told.print(report.table())
    assert "1 times a promise was broken (seed 7)" in told.export_text()
