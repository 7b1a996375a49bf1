"""The checker can fail: logs in which all is well, and each of them with one thing that breaks one promise."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from backbone.ids import derived_id
from schemas.records import (
    DeadLetter,
    Fire,
    FireOutcome,
    Status,
    Task,
    TaskEvent,
    TimerState,
)
from schemas.tiers import Tier
from schemas.topics import DEAD_LETTERS, RESULTS, TASKS, TIMERS, TIMERS_FIRED, TIMERS_STATE, Topic
from tests.chaos.promises import Shown, owed, unfinished
from tests.chaos.world import PROBLEM, World, end, every, fire, task


def test_where_all_is_well_no_promise_is_broken(world):
    assert world.broken() == set()
    assert unfinished(world.ledger, world.asked) == set()
    slots = {derived_id("t", 110), derived_id("t", 140)}
    assert owed(world.ledger, world.asked) == {"one", "ahead", "behind", "first", "second"} | slots


def test_what_comes_again_the_same_breaks_nothing(world):
    world.rows += world.rows[:-4]
    world.tell(TIMERS, None).tell(TIMERS_STATE, None)
    assert world.broken() == set()


def test_a_later_fire_that_tells_otherwise_is_passed_over_and_counted(world):
    world.tell(TIMERS_FIRED, fire(110, FireOutcome.SKIPPED, to_slot=120, count=2))
    assert world.broken() == set()
    assert [slot for slot, _ in world.ledger.contradictions("t")] == [110]


def without(of: type, **fields: Any) -> Any:
    """Leave out the records of a type whose fields are these."""

    def breaks(world: World) -> None:
        for _, _, record in list(world.rows):
            if type(record) is of and all(getattr(record, name) == value for name, value in fields.items()):
                world.drop(record)

    return breaks


def changed(of: type, change: dict[str, Any], **fields: Any) -> Any:
    """Change the records of a type whose fields are these."""

    def breaks(world: World) -> None:
        world.rows = [
            (topic, key, replace(record, **change))
            if type(record) is of and all(getattr(record, name) == value for name, value in fields.items())
            else (topic, key, record)
            for topic, key, record in world.rows
        ]

    return breaks


def plus(topic: Topic, record: Any, key: str = "t") -> Any:
    """Add a record."""
    return lambda world: world.tell(topic, record, key)


def asked_for(**fields: Any) -> Any:
    """Promise something else."""

    def breaks(world: World) -> None:
        for name, value in fields.items():
            setattr(world.asked, name, value)

    return breaks


FIRST = derived_id("t", 110)


def overtakes(world: World) -> None:
    """Let the second of two tasks of one key end first."""
    ahead, behind = (
        next(row for row in world.rows if type(row[2]) is TaskEvent and row[2].task_id == one)
        for one in ("ahead", "behind")
    )
    world.rows.remove(ahead)
    world.rows.insert(world.rows.index(behind) + 1, ahead)


BREAKS = {
    "an end is missing": ("each task ends", without(TaskEvent, task_id="one")),
    "a step's end is missing": ("each task ends", without(TaskEvent, task_id="second")),
    "the end of a slot's task is missing": ("each task ends", without(TaskEvent, task_id=FIRST)),
    "a second end says otherwise": ("a task ends once", plus(RESULTS, end("one", Status.CANCELLED))),
    "a second end is of another run": ("a task ends once", plus(RESULTS, end("one", at=6))),
    "it failed instead": ("a task ends as it has to", changed(TaskEvent, {"status": Status.EXPIRED}, task_id="one")),
    "a slot's task failed": ("a task ends as it has to", changed(TaskEvent, {"status": Status.FAILED}, task_id=FIRST)),
    "it says what it was not told": (
        "a step gets what the one before it said",
        changed(TaskEvent, {"result": b'{"said":"other"}'}, task_id="one"),
    ),
    "it says nothing": (
        "a step gets what the one before it said",
        changed(TaskEvent, {"result": None}, task_id="one"),
    ),
    "it overtook another of its key": ("first attempts of a key run in order", overtakes),
    "a chain stops": ("a chain is followed to its end", changed(TaskEvent, {"next_id": None}, task_id="first")),
    "a chain goes on": ("a chain is followed to its end", changed(TaskEvent, {"next_id": "one"}, task_id="second")),
    "a step in the wrong place": ("a step has its place", changed(Task, {"step": 2}, id="second")),
    "a step after another": ("a step has its place", changed(Task, {"parent_id": "one"}, id="second")),
    "an end of another chain": ("a step has its place", changed(TaskEvent, {"root_id": "one"}, task_id="second")),
    "an end of another kind": ("a step has its place", changed(TaskEvent, {"kind": "b"}, task_id="one")),
    "a task that nobody asked for": ("nothing comes from nowhere", plus(TASKS[Tier.LOW], task("ghost"))),
    "an end of no task": ("nothing comes from nowhere", plus(RESULTS, end("ghost"))),
    "Fires of no timer": ("nothing comes from nowhere", plus(TIMERS_FIRED, replace(fire(110), timer_id="ghost"))),
    "a task of a slot that was skipped": (
        "nothing comes from nowhere",
        plus(TASKS[Tier.LOW], task(derived_id("t", 120))),
    ),
    "it was cancelled and succeeded": ("what was cancelled stays so", asked_for(cancelled=["one"])),
    "it was never accepted": ("what is asked for is accepted", asked_for(refused=[("x", "409")])),
    "a slot in between is missing": ("each slot has one Fire", without(Fire, slot=120)),
    "the last slot is missing": ("each slot has one Fire", asked_for(timers={"t": 150})),
    "a slot that is none": ("each slot has one Fire", plus(TIMERS_FIRED, fire(115))),
    "no such timer": ("each slot has one Fire", asked_for(timers={"t": 140, "u": 140})),
    "a one-off that never fired": (
        "each slot has one Fire",
        lambda world: world.tell(TIMERS, every(id="u", every=None, at=9), "u").tell(TIMERS, None, "u"),
    ),
    "a Fire that names another task": ("a Fire names its task", changed(Fire, {"task_id": "one"}, slot=110)),
    "a slot that made no task": ("a slot that fires makes its task", without(Task, id=FIRST)),
    "skipped without a reason": ("a slot that is skipped has a reason", changed(Fire, {"reason": None}, slot=120)),
    "a failure without its letter": ("a failure has its dead letter", without(DeadLetter, raw=None)),
    "a letter without a failure": (
        "a dead letter has its failure",
        plus(DEAD_LETTERS, DeadLetter(at=1, error=PROBLEM, task=task("one"))),
    ),
    "a letter of another payload": (
        "a dead letter holds its task whole",
        changed(Task, {"payload": b'{"other":1}'}, id="second"),
    ),
    "a letter that tells of no attempt": (
        "a dead letter has each attempt's error",
        changed(DeadLetter, {"history": []}, raw=None),
    ),
    "two letters": (
        "a failure has one dead letter",
        plus(DEAD_LETTERS, DeadLetter(at=2, error=PROBLEM, task=task("second"))),
    ),
    "garbage without a letter": ("what can't be read is a dead letter", without(DeadLetter, raw=b"{")),
    "a letter of what could be read": (
        "nothing comes from nowhere",
        plus(DEAD_LETTERS, DeadLetter(at=1, error=PROBLEM, raw=b"", topic="tasks", partition=1, offset=8)),
    ),
    "a timer is left": ("nothing is left behind", plus(TIMERS, every())),
    "a state is left": ("nothing is left behind", plus(TIMERS_STATE, TimerState(id="t", last_slot=1, revision=1))),
    "the edge shows another end": (
        "the edge shows what the log says",
        lambda world: world.shown.update(one=Shown("failed", None)),
    ),
    "the edge shows no next step": (
        "the edge shows what the log says",
        lambda world: world.shown.update(first=Shown("succeeded", None)),
    ),
    "the edge knows no such task": ("the edge shows what the log says", lambda world: world.shown.pop("one")),
}


@pytest.mark.parametrize("how", BREAKS)
def test_each_promise_that_is_broken_is_told(world, how):
    promise, breaks = BREAKS[how]
    breaks(world)
    assert promise in world.broken()


def test_what_may_have_been_accepted_may_be_there_but_need_not(world):
    world.asked.maybe |= {"never came", "came"}
    world.ran(task("came"), end("came"))
    assert world.broken() == set()


def test_what_came_though_nobody_said_so_has_to_end(world):
    world.asked.maybe.add("came")
    world.tell(TASKS[Tier.LOW], task("came"))
    assert world.broken() == {"each task ends"}
    assert unfinished(world.ledger, world.asked) == {"came"}
