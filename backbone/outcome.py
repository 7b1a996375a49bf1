"""Pure: a task and what came of it, to the records that follow from it.

    succeeded                          -> the terminal event, and the next step if there is one
    not done, but in good time         -> the terminal event of this part, and the task of the rest, or a timer for it
    failed, another attempt is left    -> a `retrying` event and a timer that holds the next attempt
    what it needs is in use            -> the same, and it counts as no failure
    failed for good                    -> the terminal event and a dead letter
    expired, cancelled                 -> the terminal event

`outcomes` makes one of these happen once; whoever runs a task produces the records of the one that did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from backbone import chain
from backbone.errors import StepError
from backbone.ids import derived_id
from schemas import topics
from schemas.errors import Problem
from schemas.records import Attempt, DeadLetter, Status, Task, TaskEvent, Template, Timer
from schemas.topics import Topic

if TYPE_CHECKING:
    from backbone.settings import TierPolicy, TierTable

BUSY = "resource.busy"
"""Code of a problem that is nobody's fault: something that the task needs is in use by others."""
BACKOFF_BASE_MS = 500
BACKOFF_CAP_MS = 60_000
BUSY_SLOWER = 2
"""What is in use is waited for longer, as if so many attempts had failed before: it won't be free at once."""


class Outgoing(msgspec.Struct, frozen=True):
    """A record on its way to a topic."""

    topic: Topic
    key: str
    record: msgspec.Struct


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from an attempt.

    Attributes:
        slot: the name under which the first outcome wins.
        records: what is produced, in order.
    """

    slot: str
    records: tuple[Outgoing, ...]


def end_slot(task_id: str) -> str:
    """Return the name under which a task's end is decided."""
    return f"outcome:{task_id}"


def attempt_slot(task_id: str, attempt: int) -> str:
    """Return the name under which it is decided that an attempt is followed by another."""
    return f"attempt:{task_id}:{attempt}"


def event(task: Task, status: Status, *, now: int, worker: str, **fields: object) -> TaskEvent:
    """Return an event of a stamped task; `fields` are those of `TaskEvent` that the status calls for."""
    if task.tier is None:
        raise ValueError("the task is not stamped: it has no tier")
    return TaskEvent(
        task_id=task.id,
        key=task.key,
        kind=task.kind,
        tier=task.tier,
        owner=task.owner,
        tenant=task.tenant,
        status=status,
        attempt=task.attempt,
        at=now,
        worker=worker,
        root_id=task.root_id,
        step=task.step,
        conversation=task.conversation,
        **fields,  # type: ignore[arg-type]  # each caller names fields of TaskEvent
    )


def announced(task: Task, status: Status, *, now: int, worker: str, **fields: object) -> Outgoing:
    """Return an event on its way to `results`."""
    return Outgoing(topics.RESULTS, task.key, event(task, status, now=now, worker=worker, **fields))


def ended(task: Task, status: Status, *, now: int, worker: str, **fields: object) -> Outcome:
    """Return the end of a task by success, expiry or cancellation."""
    return Outcome(end_slot(task.id), (announced(task, status, now=now, worker=worker, **fields),))


def succeeded(
    task: Task, result: bytes, *, tiers: TierTable, largest: int, now: int, worker: str, **fields: object
) -> Outcome:
    """Return what follows from success: the end of this step, and the next one of the chain.

    A next step that can't be made (its look-ups find nothing, its payload is too large) ends the chain as that step's
    failure.

    Args:
        task: the task that succeeded.
        result: the bytes of its JSON result.
        tiers: which give the next step its times.
        largest: bytes that a payload may have.
        now: ms since the epoch.
        worker: who did it.
        fields: further fields of the event.
    """
    if not task.then:
        return ended(task, Status.SUCCEEDED, now=now, worker=worker, result=result, **fields)
    following = chain.next_task(task, tiers, now)
    end = announced(task, Status.SUCCEEDED, now=now, worker=worker, result=result, next_id=following.id, **fields)
    try:
        payload = chain.fill(following.payload, result, largest, kind=following.kind)
    except StepError as error:
        broken = _given_up(following, error.problem(), now=now, worker=worker)
        return Outcome(end_slot(task.id), (end, *broken))
    made = msgspec.structs.replace(following, payload=payload)
    return Outcome(end_slot(task.id), (end, Outgoing(topics.for_task(made), made.key, made)))


def continued(task: Task, payload: bytes, *, policy: TierPolicy, delay: int, now: int, worker: str) -> Outcome:
    """Return what follows from a part of longer work: its end without a result, and the rest as a task of its own.

    Args:
        task: the task whose handler handed the rest on.
        payload: of the rest.
        policy: the tier's.
        delay: ms until the rest may begin; one that reaches the deadline lets the rest expire there.
        now: ms since the epoch.
        worker: who did this part.
    """
    due = min(now + delay, task.deadline)
    rest = chain.next_part(task, payload, policy=policy, due=due)
    end = announced(task, Status.SUCCEEDED, now=now, worker=worker, next_id=rest.id)
    if not delay:
        return Outcome(end_slot(task.id), (end, Outgoing(topics.for_task(rest), rest.key, rest)))
    timer = _timer(task, derived_id(rest.id, "due"), due, rest, now)
    return Outcome(end_slot(task.id), (timer, end))


def successor(records: tuple[Outgoing, ...]) -> Task | None:
    """Return the task that follows by these records: one that goes to its topic, or that waits in a timer."""
    for out in records:
        if isinstance(out.record, Task):
            return out.record
        if isinstance(out.record, Timer):
            return out.record.template.task
    return None


def failed(
    task: Task,
    problem: Problem,
    *,
    policy: TierPolicy,
    now: int,
    worker: str,
    jitter: float,
    after: int = 0,
    **fields: object,
) -> Outcome:
    """Return what follows from a failed attempt: another one later, or the end.

    Args:
        task: the task as it was tried.
        problem: why it failed; only a retryable one is tried again. One whose code is `BUSY` counts as no failure.
        policy: the tier's, which bounds how often it may fail.
        now: ms since the epoch.
        worker: who tried.
        jitter: uniform in [0, 1): spreads the retries of what failed together ("equal jitter", AWS Architecture
            Blog, "Exponential Backoff And Jitter").
        after: ms before which another attempt is of no use; it may be made up to `BACKOFF_BASE_MS` later.
        fields: further fields of the event.
    """
    history = task.history
    wait = backoff(task.attempt + BUSY_SLOWER, jitter)
    if problem.code != BUSY:
        history = [*history, Attempt(attempt=task.attempt, at=now, code=problem.code, message=problem.message)]
        wait = backoff(len(history), jitter)
    if after:
        wait = max(wait, after + int(BACKOFF_BASE_MS * jitter))
    due = now + wait
    if problem.retryable and len(history) < policy.attempts and due < task.deadline:
        again = msgspec.structs.replace(task, attempt=task.attempt + 1, history=history)
        timer = _timer(task, derived_id(task.id, "retry", again.attempt), due, again, now)
        retrying = announced(task, Status.RETRYING, now=now, worker=worker, error=problem, **fields)
        return Outcome(attempt_slot(task.id, task.attempt), (timer, retrying))
    return Outcome(end_slot(task.id), _given_up(task, problem, history, now=now, worker=worker, **fields))


def _timer(task: Task, timer_id: str, due: int, later: Task, now: int) -> Outgoing:
    """Return the one-off timer that makes a task later on behalf of this one."""
    template = Template(task=later)
    timer = Timer(id=timer_id, owner=task.owner, tenant=task.tenant, at=due, template=template, created_at=now)
    return Outgoing(topics.TIMERS, timer.id, timer)


def _given_up(
    task: Task, problem: Problem, history: list[Attempt] | None = None, *, now: int, worker: str, **fields: object
) -> tuple[Outgoing, Outgoing]:
    letter = DeadLetter(at=now, error=problem, task=task, history=history or [])
    return (
        Outgoing(topics.DEAD_LETTERS, task.key, letter),
        announced(task, Status.FAILED, now=now, worker=worker, error=problem, **fields),
    )


def expiry(task: Task, now: int, *, begun: bool = False) -> Problem | None:
    """Return why a task may not be started or continued any more, or None if it may.

    Args:
        task: a stamped task.
        now: ms since the epoch.
        begun: whether its first attempt has begun, so that only the deadline counts.
    """
    if now >= task.deadline:
        return Problem("task.deadline", "its deadline passed before it was done")
    if not begun and task.attempt == 1 and now >= task.start_by:
        return Problem("task.start_by", "it waited longer than its tier lets a task wait to start")
    return None


def backoff(attempt: int, jitter: float) -> int:
    """Return how many ms to wait after this attempt: half of it fixed, half spread."""
    # The exponent is bounded too: an attempt's number is whatever a client wrote.
    ceiling: int = min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** min(max(attempt, 1) - 1, 16))
    return ceiling // 2 + int(ceiling / 2 * jitter)
