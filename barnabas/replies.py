"""What the edge says, as the client returns it: plain values, times aware and in UTC.

Fields that a newer edge adds are ignored, so an older client keeps working.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from schemas.errors import Problem
from schemas.records import Status
from schemas.tiers import Tier


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of all that the edge says."""


class Step(Reply, frozen=True, kw_only=True):
    """A step of a chain; `{{ result.path }}` in its payload is looked up in the result of the step before."""

    kind: str
    payload: dict[str, Any]
    tier: Tier | None = None


class Receipt(Reply, frozen=True, kw_only=True):
    """The edge's word that a task is durable, and where its record lies.

    Attributes:
        start_by: when it expires unless it has begun.
        deadline: when it expires unless it has ended.
    """

    id: str
    key: str
    kind: str
    tier: Tier
    topic: str
    partition: int
    offset: int
    created_at: datetime
    start_by: datetime
    deadline: datetime
    status: str


class Blob(Reply, frozen=True, kw_only=True):
    """Bytes that were uploaded; `ref` names them in payloads of one's own."""

    ref: str
    size: int
    sha256: str


class State(Reply, frozen=True, kw_only=True):
    """A task as it is now; `topic`, `partition` and `offset` are those of its record, where that has been read.

    Attributes:
        result_ref: of a result that is too large to be shown: `Client.download` gets its JSON.
    """

    id: str
    kind: str
    tier: Tier
    status: str
    key: str = ""
    owner: str = ""
    attempt: int = 1
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    created_at: datetime | None = None
    start_by: datetime | None = None
    deadline: datetime | None = None
    updated_at: datetime | None = None
    result: Any = None
    result_ref: str | None = None
    error: Problem | None = None
    worker: str | None = None
    tokens: int | None = None
    root: str = ""
    step: int = 0
    next: str | None = None
    replay_of: str | None = None


class Event(Reply, frozen=True, kw_only=True):
    """Something that happened to a task.

    Attributes:
        topic: of the event's record, with partition and offset.
        result_ref: of a result that is too large for the event: `Client.download` gets its JSON.
        step: the task's place in its chain, from 0.
        next: in the end of a task that another step follows: that step's task.
        cursor: what `Client.events` goes on from, after this, at any edge.
    """

    task: str
    kind: str
    tier: Tier
    status: Status
    attempt: int
    at: datetime
    topic: str
    partition: int
    offset: int
    result: Any = None
    result_ref: str | None = None
    error: Problem | None = None
    note: str | None = None
    progress: float | None = None
    tokens: int | None = None
    step: int = 0
    next: str | None = None
    cursor: str | None = None

    @property
    def last(self) -> bool:
        """Whether nothing follows: the task has ended, and no step of its chain comes after it."""
        return self.status.terminal and self.next is None


class Tokens(Reply, frozen=True, kw_only=True):
    """A piece of an answer: `count` tokens from number `index` on; 0 where its end held back a last bit of text."""

    task: str
    index: int
    count: int
    text: str
    cursor: str | None = None


class Gap(Reply, frozen=True, kw_only=True):
    """What the log has no more: tokens of a task from `index` on, before `until`, or all that happened `after` and `before`."""

    task: str | None = None
    index: int | None = None
    until: int | None = None
    after: datetime | None = None
    before: datetime | None = None
    cursor: str | None = None


class Result(Reply, frozen=True, kw_only=True):
    """How a task that succeeded ended; `value` is what its kind returns."""

    task: str
    kind: str
    tier: Tier
    value: Any
    attempt: int
    at: datetime
    tokens: int | None = None


class Fire(Reply, frozen=True, kw_only=True):
    """What became of a slot of a schedule, or of a range of slots that were skipped.

    Attributes:
        to: the last slot of a range.
        count: how many slots it tells of; none of them is told of by another fire.
    """

    slot: datetime
    to: datetime | None = None
    count: int = 1
    at: datetime
    outcome: str
    late_by_ms: int | None = None
    reason: str | None = None
    task_id: str | None = None


class ScheduledTask(Reply, frozen=True, kw_only=True):
    """The task that a schedule makes."""

    kind: str
    tier: Tier | None = None
    payload: Any = None


class Schedule(Reply, frozen=True, kw_only=True):
    """A schedule, and the slots that are accounted for.

    Attributes:
        when: what it means, in English.
        every: seconds; `jitter` and `max_late` too.
        next: its next slot; None while it is paused.
        upcoming: its next three slots; in a list only the next.
        active: whether it is still to fire.
        enabled: False while it is paused.
        topic: of its record, with partition and offset.
        last: what became of its last slot.
        fires: the latest ones, by slot; left out in a list.
    """

    id: str
    task: ScheduledTask | None = None
    when: str | None = None
    at: datetime | None = None
    cron: str | None = None
    tz: str | None = None
    every: float | None = None
    jitter: float = 0
    misfire: str = "fire_once"
    catch_up_limit: int | None = None
    max_late: float | None = None
    next: datetime | None = None
    upcoming: list[datetime] = []
    active: bool = True
    enabled: bool = True
    paused_at: datetime | None = None
    revision: int = 1
    created_at: datetime | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    last: Fire | None = None
    fires: list[Fire] = []


class Kind(Reply, frozen=True, kw_only=True):
    """A kind of task that somebody serves."""

    kind: str
    tier: Tier
    service: str
    description: str
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any]


class FailedAttempt(Reply, frozen=True, kw_only=True):
    """An attempt that failed."""

    attempt: int
    at: datetime
    code: str
    message: str


class Handled(Reply, frozen=True, kw_only=True):
    """What someone did with a dead letter; `task_id` is the replay's."""

    how: str
    by: str
    at: datetime
    task_id: str | None = None


class DeadLetter(Reply, frozen=True, kw_only=True):
    """A task that failed for good, or a record that could not be read; what it carries is left out in a list.

    Attributes:
        id: its task's id; that of a record that could not be read follows from its place.
        status: what was done with it: `waiting`, `replayed` or `dropped`.
        replay_of: the dead letter whose replay its task was.
        replays: ids of the tasks that its replays are.
        topic: of the letter's record, with partition and offset.
        payload_ref: of a payload that is too large to be shown: `Client.download` gets its JSON.
        raw: text that is no JSON document, or no record; `raw_base64` where it is no UTF-8.
        source: where the bytes lie that could not be read.
    """

    id: str
    status: str
    at: datetime
    owner: str
    error: Problem
    kind: str | None = None
    tier: Tier | None = None
    attempts: int = 0
    replay_of: str | None = None
    replays: list[str] = []
    topic: str
    partition: int
    offset: int
    key: str | None = None
    created_at: datetime | None = None
    deadline: datetime | None = None
    conversation: str | None = None
    root: str | None = None
    step: int | None = None
    payload: Any = None
    payload_ref: str | None = None
    raw: str | None = None
    raw_base64: str | None = None
    then: list[dict[str, Any]] = []
    history: list[FailedAttempt] = []
    source: dict[str, Any] | None = None
    handled: list[Handled] = []


class Service(Reply, frozen=True, kw_only=True):
    """A process that was there within the last seconds."""

    service: str
    instance: str
    ready: bool
    detail: str


class Readiness(Reply, frozen=True, kw_only=True):
    """Whether the edge serves, and who else is there."""

    ready: bool
    detail: str = ""
    services: list[Service] = []
