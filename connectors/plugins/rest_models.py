"""What REST clients send: bodies that refuse unknown fields, so that a misspelt option is an error."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from unicodedata import category

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from backbone.chain import MOST_STEPS
from backbone.clock import to_ms
from backbone.slots import MOST_CAUGHT_UP
from connectors.gateway import MAX_KEY, Submission
from connectors.payloads import StepWish
from connectors.schedules import Wish
from connectors.showable import is_time
from schemas.records import Misfire
from schemas.tiers import Tier

Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
KindName = Annotated[str, Field(min_length=1, max_length=200, examples=["cron.parse"])]
BlobRef = Annotated[str, Field(max_length=200, examples=["blob:sha256:" + "0" * 64])]
Payload = Annotated[dict[str, Any], Field(description="What the kind wants: see GET /v1/kinds.")]


def _in_utc(value: datetime) -> datetime:
    if not is_time(to_ms(value)):
        raise PydanticCustomError("time", "is before the year 1970 or after the year 9999 in UTC")
    return value


def _no_controls(value: str) -> str:
    if value in {".", ".."} or any(category(character) == "Cc" for character in value):
        raise PydanticCustomError("id", "has no control characters, and is neither `.` nor `..`: paths would lose it")
    if value.endswith("/history"):
        raise PydanticCustomError("id", "does not end in `/history`: that is the path of another one's")
    return value


Instant = Annotated[
    AwareDatetime, AfterValidator(_in_utc), PlainSerializer(lambda value: value.isoformat(), return_type=str)
]
ScheduleId = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_controls)]

MAX_SECONDS = timedelta(days=3660).total_seconds()
LEAST_PAUSE = 1.0
"""Seconds, as a cron expression has them: each slot costs four records."""


class Body(BaseModel):
    """The base of bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StepBody(Body):
    """A step of a chain."""

    kind: KindName
    payload: Payload = Field(
        description="`{{ result.path }}` in a string is looked up in the result of the step before."
    )
    tier: Tier | None = Field(None, description="The kind's own by default.")


class TaskBody(Body):
    """A task to be done: with a payload, or the ref of one that was uploaded."""

    kind: KindName
    payload: Payload | None = None
    payload_ref: BlobRef | None = Field(None, description="Of a payload's JSON: see POST /v1/blobs.")
    tier: Tier | None = Field(None, description="The kind's own by default.")
    ordering_key: Key | None = Field(None, description="First attempts of tasks with the same key run in order.")
    idempotency_key: Key | None = Field(None, description="The same key with the same task is the same task.")
    conversation: Key | None = Field(None, description="For llm.*: the conversation that it belongs to.")
    then: Annotated[list[StepBody], Field(max_length=MOST_STEPS)] = Field([], description="What follows, step by step.")
    deadline: Instant | None = Field(None, description="When it and all steps after it end at the latest.")

    def submission(self, header_key: str | None) -> Submission:
        """Return it as the gateway wants it; an idempotency key may also come as a header."""
        return Submission(
            kind=self.kind,
            payload=self.payload,
            payload_ref=self.payload_ref,
            tier=self.tier,
            ordering_key=self.ordering_key,
            idempotency_key=self.idempotency_key or header_key,
            conversation=self.conversation,
            then=tuple(StepWish(kind=step.kind, payload=step.payload, tier=step.tier) for step in self.then),
            deadline=None if self.deadline is None else to_ms(self.deadline),
        )


class ScheduledTaskBody(Body):
    """The task that a schedule makes."""

    kind: KindName
    payload: Payload
    tier: Tier | None = None


class ScheduleBody(Body):
    """A schedule: exactly one of `when`, `at`, `cron` and `every`."""

    task: ScheduledTaskBody
    when: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="In English, or a cron expression; what was understood is in the answer.",
        examples=["every weekday at 8"],
    )
    at: Instant | None = Field(None, description="Once, at this time; with an offset from UTC.")
    cron: str | None = Field(None, max_length=200, description="Five fields, or six with seconds first.")
    tz: str | None = Field(
        None, min_length=1, max_length=64, description="Time zone of `when` and `cron`; UTC by default."
    )
    every: float | None = Field(None, ge=LEAST_PAUSE, le=MAX_SECONDS, description="Seconds from one to the next.")
    id: ScheduleId | None = Field(None, description="The same id replaces the schedule.")
    jitter: float = Field(0, ge=0, le=MAX_SECONDS, description="Seconds by which each may be late, at random.")
    misfire: Misfire = Field(Misfire.FIRE_ONCE, description="What becomes of slots that passed while nothing ran.")
    catch_up_limit: int | None = Field(
        None, ge=1, le=MOST_CAUGHT_UP, description="With `catch_up`: how many are caught up with; 100 by default."
    )
    max_late: float | None = Field(
        None, ge=0, le=MAX_SECONDS, description="A slot that is later than so many seconds is skipped by any policy."
    )

    def wish(self) -> Wish:
        """Return it as the schedules want it: times and durations in ms."""
        return Wish(
            kind=self.task.kind,
            payload=self.task.payload,
            tier=self.task.tier,
            id=self.id,
            at=None if self.at is None else to_ms(self.at),
            cron=self.cron,
            tz=self.tz,
            every=None if self.every is None else round(self.every * 1000),
            when=self.when,
            jitter=round(self.jitter * 1000),
            misfire=self.misfire,
            catch_up_limit=self.catch_up_limit,
            max_late=None if self.max_late is None else round(self.max_late * 1000),
        )
