"""Dead letters as a client is shown them: in a list without what they carry, and one of them whole."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from pydantic import Field

from connectors.letter_state import LetterStatus  # noqa: TC001 - pydantic reads it
from connectors.showable import read_document
from connectors.views import Instant, TaskProblem, View, iso, problem_fields
from schemas.records import Resolution
from schemas.tiers import Tier  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from connectors.letter_state import LetterState
    from connectors.letters import Page
    from schemas.records import DeadLetter as Record
    from schemas.records import Task


class DeadLetter(View):
    """A task that failed for good, or a record that could not be read. Where it lies is its record's place."""

    id: str = Field(description="Its task's id; that of a record that could not be read follows from its place.")
    status: LetterStatus
    at: Instant = Field(description="When it became a dead letter.")
    owner: str
    error: TaskProblem
    kind: str | None = Field(None, description="Null where there is no task.")
    tier: Tier | None = None
    attempts: int = Field(0, description="How often its task was tried.")
    replay_of: str | None = Field(None, description="The dead letter whose replay its task was.")
    replays: list[str] = Field([], description="Ids of the tasks that its replays are, the first one first.")
    topic: str
    partition: int
    offset: int


class FailedAttempt(View):
    """An attempt that failed."""

    attempt: int
    at: Instant
    code: str
    message: str


class NextStep(View):
    """A step that was to follow."""

    kind: str
    tier: Tier | None = None
    payload: Any = None


class Source(View):
    """Where the bytes lie that could not be read."""

    topic: str
    partition: int
    offset: int


class Handled(View):
    """What someone did with it."""

    how: Resolution
    by: str
    at: Instant
    task_id: str | None = Field(None, description="The replay's.")


class WholeDeadLetter(DeadLetter):
    """A dead letter with what it carries."""

    key: str | None = None
    created_at: Instant | None = None
    deadline: Instant | None = None
    conversation: str | None = None
    root: str | None = Field(None, description="Id of the first task of its chain.")
    step: int | None = None
    payload: Any = Field(None, description="Null where it is no JSON document: see `raw`.")
    payload_ref: str | None = Field(None, description="Of a payload that is too large to be shown: see GET /v1/blobs.")
    raw: str | None = Field(None, description="Text that is no JSON document, or no record.")
    raw_base64: str | None = Field(None, description="The same where it is no UTF-8.")
    then: list[NextStep] = Field([], description="What was to follow it, step by step.")
    history: list[FailedAttempt] = Field([], description="Its attempts, the first one first.")
    source: Source | None = None
    handled: list[Handled] = Field([], description="What was done with it, the first thing first.")


class DeadLetters(View):
    """Some dead letters, the newest first."""

    dead_letters: list[DeadLetter]
    cursor: str | None = Field(None, description="Asks for what follows; a page may have few letters, or none, and it.")


def page(some: Page) -> DeadLetters:
    """Return a page of letters as clients see it."""
    return DeadLetters(
        dead_letters=[DeadLetter(**_fields(state)) for state in some.letters if state.letter], cursor=some.cursor
    )


def whole(state: LetterState, record: Record) -> WholeDeadLetter:
    """Return a letter and its record as clients see it."""
    done = [(one, Resolution.REPLAYED) for one in state.replays]
    if state.dropped:
        done.append((state.dropped, Resolution.DROPPED))
    return WholeDeadLetter(
        **_fields(state),
        **(_bytes(record) if record.task is None else _task(record.task)),
        history=[
            FailedAttempt(attempt=one.attempt, at=iso(one.at), code=one.code, message=one.message)
            for one in record.history
        ],
        handled=[
            Handled(how=how, by=one.by, at=iso(one.at), task_id=one.task_id)
            for one, how in sorted(done, key=lambda row: row[0].place.offset)
        ],
    )


def _fields(state: LetterState) -> dict[str, Any]:
    letter = state.letter
    if letter is None:
        raise ValueError("its record was not read yet")
    return {
        "id": state.id,
        "status": state.status,
        "at": iso(letter.at),
        "owner": letter.owner,
        "error": TaskProblem(**problem_fields(letter.error)),
        "kind": letter.kind,
        "tier": letter.tier,
        "attempts": letter.attempts,
        "replay_of": letter.replay_of,
        "replays": [done.task_id for done in state.replays],
        "topic": letter.place.topic,
        "partition": letter.place.partition,
        "offset": letter.place.offset,
    }


def _task(task: Task) -> dict[str, Any]:
    return {
        "key": task.key,
        "created_at": iso(task.created_at),
        "deadline": iso(task.deadline),
        "conversation": task.conversation,
        "root": task.root_id,
        "step": task.step,
        "then": [NextStep(kind=step.kind, tier=step.tier, **_document(step.payload)) for step in task.then],
        **({"payload_ref": task.payload_ref} if task.payload_ref else _document(task.payload)),
    }


def _bytes(record: Record) -> dict[str, Any]:
    told = {} if record.raw is None else _text(record.raw)
    if record.topic is None or record.partition is None or record.offset is None:
        return told
    return {**told, "source": Source(topic=record.topic, partition=record.partition, offset=record.offset)}


def _document(data: bytes) -> dict[str, Any]:
    try:
        return {"payload": read_document(data)}
    except ValueError:
        return _text(data)


def _text(data: bytes) -> dict[str, Any]:
    try:
        return {"raw": data.decode()}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(data).decode()}
