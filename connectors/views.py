"""What a client is shown: receipts, states, schedules and problems, as REST and the WebSocket give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backbone.clock import to_datetime
from connectors.showable import is_time, read_document
from schemas.records import Status
from schemas.tiers import Tier

if TYPE_CHECKING:
    from http import HTTPStatus

    from connectors.state import Place
    from connectors.state import TaskState as Folded
    from schemas.errors import BarnabasError, Problem
    from schemas.records import Kind as KindRecord
    from schemas.records import Task

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T08:00:00.000Z"])]
"""A time in ISO 8601, UTC, to the millisecond."""


def iso(ms: int) -> str:
    """Return milliseconds since the epoch as `2026-01-31T08:00:00.000Z`."""
    return to_datetime(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(ms: int | None) -> str | None:
    """Return a time as `iso` does; None where there is none, or no calendar has it."""
    return iso(ms) if ms is not None and is_time(ms) else None


class View(BaseModel):
    """The base of what is shown."""

    model_config = ConfigDict(frozen=True)


class Receipt(View):
    """The edge's word that a task is durable."""

    id: str
    key: str = Field(description="Its records, tokens and events lie in partitions of the number that this hashes to.")
    kind: str
    tier: Tier
    status: Literal["accepted"] = "accepted"
    topic: str
    partition: int
    offset: int
    created_at: Instant
    start_by: Instant = Field(description="It expires then unless it has begun.")
    deadline: Instant = Field(description="It expires then unless it has ended.")


class TaskProblem(View):
    """Why a task failed, or is tried again."""

    code: str
    message: str
    field: str | None = None
    retryable: bool


class TaskState(View):
    """A task as it is now. Where its record lies is null until that record was read."""

    id: str
    key: str
    kind: str
    tier: Tier
    owner: str
    status: Literal["accepted"] | Status
    attempt: int
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    created_at: Instant | None = None
    start_by: Instant | None = None
    deadline: Instant | None = None
    updated_at: Instant | None = None
    worker: str | None = None
    result: Any = None
    result_ref: str | None = Field(None, description="Of a result that is too large to be shown: see GET /v1/blobs.")
    error: TaskProblem | None = None
    tokens: int | None = Field(None, description="How many tokens its answer has.")
    root: str = Field(description="Id of the first task of its chain; its own where there is none before it.")
    step: int = Field(0, description="Its place in the chain, from 0.")
    next: str | None = Field(None, description="Id of the task that follows it.")
    replay_of: str | None = Field(None, description="Id of the dead letter whose replay it is.")


class Blob(View):
    """Bytes that were uploaded."""

    ref: str = Field(description="Names them in a payload, or as a task's payload_ref; it is the caller's alone.")
    size: int
    sha256: str


class Kind(View):
    """A kind of task that somebody serves, with the JSON Schema of its payload and result."""

    kind: str
    tier: Tier = Field(description="What a task of this kind gets when it names no tier.")
    service: str
    description: str
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any]


class Kinds(View):
    """All kinds, by name."""

    kinds: list[Kind]


class Alive(View):
    """The edge answers."""

    alive: bool


class Service(View):
    """A process that was there within the last seconds."""

    service: str
    instance: str
    ready: bool
    detail: str


class Ready(View):
    """Whether the edge serves, and who else is there."""

    ready: bool
    detail: str
    services: list[Service]


class ProblemView(View):
    """What went wrong (RFC 9457, Problem Details for HTTP APIs)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable and dotted.")
    field: str | None = Field(None, description="Path of the offending field.")
    retryable: bool = Field(description="Whether the same request may succeed later.")


PROBLEM_JSON = "application/problem+json"


def problem(error: BarnabasError, status: HTTPStatus) -> ProblemView:
    """Return an error as a problem document."""
    return ProblemView(
        title=status.phrase,
        status=status.value,
        detail=error.message,
        code=error.code,
        field=error.field,
        retryable=error.retryable,
    )


def problem_fields(problem: Problem) -> dict[str, Any]:
    """Return a problem as clients see it: `retryable` is always said."""
    fields = {"code": problem.code, "message": problem.message, "retryable": problem.retryable}
    return fields if problem.field is None else {**fields, "field": problem.field}


def receipt(task: Task, place: Place) -> Receipt:
    """Return the receipt of a stamped task."""
    if task.tier is None:
        raise ValueError("the task is not stamped: it has no tier")
    return Receipt(
        id=task.id,
        key=task.key,
        kind=task.kind,
        tier=task.tier,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        created_at=iso(task.created_at),
        start_by=iso(task.start_by),
        deadline=iso(task.deadline),
    )


def task_state(state: Folded) -> TaskState:
    """Return a folded state as clients see it."""
    accepted, latest, place = state.accepted, state.latest, state.accepted.place if state.accepted else None
    updated = latest.at if latest else accepted.created_at if accepted else None
    result = document(latest.result) if latest and latest.result is not None else None
    return TaskState(
        id=state.id,
        key=state.about.key,
        kind=state.about.kind,
        tier=state.about.tier,
        owner=state.about.owner,
        status=latest.status if latest else "accepted",
        attempt=latest.attempt if latest else 1,
        topic=place.topic if place else None,
        partition=place.partition if place else None,
        offset=place.offset if place else None,
        created_at=instant(accepted.created_at) if accepted else None,
        start_by=instant(accepted.start_by) if accepted else None,
        deadline=instant(accepted.deadline) if accepted else None,
        updated_at=instant(updated),
        worker=latest.worker if latest else None,
        result=result,
        result_ref=latest.result_ref if latest else None,
        error=TaskProblem(**problem_fields(latest.error)) if latest and latest.error else None,
        tokens=latest.tokens if latest else None,
        root=state.about.root_id,
        step=state.about.step,
        next=latest.next_id if latest else None,
        replay_of=accepted.replay_of if accepted else None,
    )


def kind(record: KindRecord) -> Kind:
    """Return an announced kind as clients see it."""
    return Kind(
        kind=record.kind,
        tier=record.tier,
        service=record.service,
        description=record.description,
        payload_schema=read_document(record.payload_schema),
        result_schema=read_document(record.result_schema),
    )


def document(data: bytes) -> Any:
    """Return a JSON document; of one that can't be shown, nothing."""
    try:
        return read_document(data)
    except ValueError:
        return None  # it was folded before records were held against `showable`
