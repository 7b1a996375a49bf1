"""A small log in which all is well, made by hand, for tests to break in one place."""

from __future__ import annotations

from typing import Any

from backbone.ids import derived_id
from schemas.errors import Problem
from schemas.records import Attempt, DeadLetter, Fire, FireOutcome, Status, Task, TaskEvent, Template, Timer, TimerState
from schemas.tiers import Tier
from schemas.topics import DEAD_LETTERS, RESULTS, TASKS, TIMERS, TIMERS_FIRED, TIMERS_STATE, Topic
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.promises import SUCCEEDS, Asked, Promised, Shown, broken

FAILS = frozenset({Status.FAILED})
PROBLEM = Problem("task.failed", "it failed")
TRIED = Attempt(attempt=1, at=1, code=PROBLEM.code, message=PROBLEM.message)


def task(identity: str, **more: Any) -> Task:
    return Task(**{"id": identity, "kind": "a", "tier": Tier.LOW, "root_id": identity, **more})


def end(identity: str, status: Status = Status.SUCCEEDED, **more: Any) -> TaskEvent:
    return TaskEvent(
        **{
            "task_id": identity, "key": "", "kind": "a", "tier": Tier.LOW, "owner": "", "tenant": "", "status": status,
            "attempt": 1, "at": 5, "worker": "w:1", "root_id": identity, **more,
        }
    )  # fmt: skip


def every(ms: int = 10, **more: Any) -> Timer:
    return Timer(
        **{
            "id": "t", "owner": "", "tenant": "", "template": Template(task=Task(kind="a")), "created_at": 100,
            "every": ms, **more,
        }
    )  # fmt: skip


def fire(slot: int, outcome: FireOutcome = FireOutcome.FIRED, **more: Any) -> Fire:
    skipped = outcome is FireOutcome.SKIPPED
    named = {"reason": "missed"} if skipped else {"task_id": derived_id("t", slot)}
    return Fire(**{"timer_id": "t", "slot": slot, "outcome": outcome, "at": slot, **named, **more})


class World:
    """A log, what was accepted and what the edge shows; made whole, then broken in one place."""

    def __init__(self) -> None:
        self.rows: list[tuple[Topic, str, Any]] = []
        self.asked = Asked()
        self.shown: dict[str, Shown] = {}

    def tell(self, topic: Topic, record: Any, key: str = "t") -> World:
        self.rows.append((topic, key, record))
        return self

    def drop(self, record: Any) -> None:
        self.rows = [row for row in self.rows if row[2] is not record]

    def ran(self, one: Task, how: TaskEvent) -> World:
        self.shown[one.id] = Shown(how.status.value, how.next_id)
        return self.tell(TASKS[Tier.LOW], one).tell(RESULTS, how)

    @property
    def ledger(self) -> Ledger:
        ledger = Ledger()
        for offset, (topic, key, record) in enumerate(self.rows):
            ledger.add(Entry(topic, offset, key, record))
        return ledger

    def broken(self) -> set[str]:
        return {one.promise for one in broken(self.ledger, self.asked, self.shown)}


def all_well() -> World:
    """Return tasks, a chain of two steps that fails at its second, a timer with four slots, and some garbage: all is well."""
    it = World()
    it.asked.tasks["one"] = Promised(("a",), (SUCCEEDS,), ("hello",))
    it.ran(task("one"), end("one", result=b'{"said":"hello"}'))
    it.ran(task("ahead"), end("ahead", key="k")).ran(task("behind"), end("behind", key="k"))
    for one in ("ahead", "behind"):
        it.asked.tasks[one] = Promised(("a",), (SUCCEEDS,), (None,))
    it.asked.tasks["first"] = Promised(("a", "b"), (SUCCEEDS, FAILS), (None, None))
    second = {"kind": "b", "root_id": "first", "step": 1}
    it.ran(task("first"), end("first", next_id="second"))
    failed = task("second", parent_id="first", **second)
    it.ran(failed, end("second", Status.FAILED, error=PROBLEM, **second))
    it.tell(DEAD_LETTERS, DeadLetter(at=1, error=PROBLEM, task=failed, history=[TRIED]))
    it.asked.timers["t"] = 140
    it.tell(TIMERS, every()).tell(TIMERS_STATE, TimerState(id="t", last_slot=110, revision=1))
    for one in (
        fire(110),
        fire(120, FireOutcome.SKIPPED, to_slot=130, count=2),
        fire(140, FireOutcome.LATE, late_by=9),
    ):
        it.tell(TIMERS_FIRED, one)
        if one.task_id:
            it.ran(task(one.task_id), end(one.task_id))
    it.tell(TIMERS, None).tell(TIMERS_STATE, None)
    it.asked.garbage.append(("tasks", 1, 7))
    it.tell(DEAD_LETTERS, DeadLetter(at=1, error=PROBLEM, raw=b"{", topic="tasks", partition=1, offset=7))
    return it
