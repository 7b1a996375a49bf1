"""The records of every topic, as Python sees them; `avro/*.avsc` is the contract that they mirror.

Times are milliseconds since the epoch, durations are milliseconds. A field of type `Json` holds the bytes of a JSON
document: bytes in Avro, the document itself where a record travels as JSON. A field with a default may be left out by
a client that produces JSON; what such a `Task` lacks is filled in by whoever reads it first (`backbone.stamp`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.errors import Problem
from schemas.tiers import Tier

Json = Annotated[bytes, msgspec.Meta(extra={"json": True})]
"""The bytes of a JSON document."""
Int = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
"""An Avro `int`. JSON knows no bounds; what is beyond them is no record."""
Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""An Avro `long`."""
LAST_MS = 253_402_300_799_999
"""The end of the year 9999, after which there is no time."""
Time = Annotated[int, msgspec.Meta(ge=0, le=LAST_MS)]
"""Milliseconds since the epoch."""
Duration = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Milliseconds."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""How many, or which one from 0."""


class Status(StrEnum):
    """What became of a task, or is becoming."""

    STARTED = "started"
    PROGRESS = "progress"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows it."""
        return self in _TERMINAL


_TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.EXPIRED, Status.CANCELLED})


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every record."""


class Attempt(Record, frozen=True, kw_only=True):
    """One attempt that failed."""

    attempt: Count
    at: Time
    code: str
    message: str


class Step(Record, frozen=True, kw_only=True):
    """What follows from a task; `{{ result.path }}` in a string of its payload is looked up in the step before."""

    kind: str
    tier: Tier | None = None
    payload: Json = b"{}"


class Task(Record, frozen=True, kw_only=True):
    """A piece of work."""

    kind: str
    id: str = ""
    key: str = ""
    tier: Tier | None = None
    owner: str = ""
    tenant: str = ""
    payload: Json = b"{}"
    payload_ref: str | None = None
    created_at: Time = 0
    start_by: Time = 0
    deadline: Time = 0
    attempt: Count = 1
    history: list[Attempt] = []
    root_id: str = ""
    parent_id: str | None = None
    step: Count = 0
    idempotency_key: str | None = None
    conversation: str | None = None
    reply_to: list[str] = []
    then: list[Step] = []
    replay_of: str | None = None
    chain_deadline: Time | None = None


class TaskEvent(Record, frozen=True, kw_only=True):
    """Something that happened to a task. Readers keep the first terminal one by offset."""

    task_id: str
    key: str
    kind: str
    tier: Tier
    owner: str
    tenant: str
    status: Status
    attempt: Count
    at: Time
    worker: str
    root_id: str
    step: Count = 0
    conversation: str | None = None
    result: Json | None = None
    result_ref: str | None = None
    error: Problem | None = None
    progress: float | None = None
    note: str | None = None
    claim: Long | None = None
    tokens: Count | None = None
    next_id: str | None = None


class DeltaType(StrEnum):
    """What a record of the token log is."""

    CLAIM = "claim"
    TOKENS = "tokens"
    END = "end"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    ERROR = "error"


class Usage(Record, frozen=True, kw_only=True):
    """How many tokens went in and came out."""

    prompt_tokens: Count
    completion_tokens: Count


class TokenDelta(Record, frozen=True, kw_only=True):
    """An entry of the token log: a worker's claim on a request, some of its tokens, or its end.

    The offset of a claim is its epoch. `claim` is the offset of the claim that a delta belongs to, -1 in a claim.
    `index` is that of the first token, from 0. `text` is whole UTF-8: a character split over tokens comes with its last.
    `logprobs` is a list with an entry for each token, in the form of the OpenAI API, where they were asked for.
    """

    task_id: str
    type: DeltaType
    claim: Long
    index: Count
    token_ids: list[Count] = []
    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    worker: str | None = None
    seed: Long | None = None
    model: str | None = None
    digest: str | None = None
    format: str | None = None
    logprobs: Json | None = None


class Cancel(Record, frozen=True, kw_only=True):
    """Stop this task, wherever it is."""

    task_id: str
    by: str
    at: Time
    reason: str = ""


class Delivery(Record, frozen=True, kw_only=True):
    """Something to be told to an address outside."""

    address: str
    dedupe_key: str
    body: Json
    attempt: Count = 1


class Misfire(StrEnum):
    """What is done with slots that passed while nothing ran."""

    FIRE_ONCE = "fire_once"
    CATCH_UP = "catch_up"
    SKIP = "skip"


class Template(Record, frozen=True, kw_only=True):
    """What a timer makes at its slot: exactly one of these."""

    task: Task | None = None
    delivery: Delivery | None = None


class Timer(Record, frozen=True, kw_only=True):
    """When to make what; exactly one of `at`, `cron` and `every`."""

    id: str
    owner: str
    tenant: str
    template: Template
    created_at: Time
    revision: Long = 1
    at: Time | None = None
    cron: str | None = None
    tz: str | None = None
    every: Duration | None = None
    jitter: Duration = 0
    misfire: Misfire = Misfire.FIRE_ONCE
    catch_up_limit: Count = 100
    max_late: Duration | None = None
    enabled: bool = True
    since: Time | None = None


class FireOutcome(StrEnum):
    """What became of a slot."""

    FIRED = "fired"
    LATE = "late"
    SKIPPED = "skipped"


class Fire(Record, frozen=True, kw_only=True):
    """A slot of a timer, or a range of skipped ones, accounted for. Readers keep the first one of a slot."""

    timer_id: str
    slot: Time
    outcome: FireOutcome
    at: Time
    to_slot: Time | None = None
    count: Count = 1
    late_by: Duration | None = None
    reason: str | None = None
    task_id: str | None = None


class TimerState(Record, frozen=True, kw_only=True):
    """How far a timer's slots are accounted for.

    Attributes:
        id: the timer's.
        last_slot: the last slot that is accounted for.
        revision: of the timer at that time.
        firing: what was decided of the slot after it, written before it is done, so that a crash doesn't decide anew.
    """

    id: str
    last_slot: Time
    revision: Long
    firing: Fire | None = None


class Resolution(StrEnum):
    """What was done with a dead letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


class Resolved(Record, frozen=True, kw_only=True):
    """What someone did with a dead letter; `task_id` is the replay's."""

    letter_id: str
    how: Resolution
    by: str
    at: Time
    task_id: str | None = None


class DeadLetter(Record, frozen=True, kw_only=True):
    """A task that ran out of attempts, bytes that could not be read, or what was done with one of these.

    A letter's id is its task's; that of bytes is the record's key. A record with `resolved` has neither task nor bytes,
    the error of the letter and its key.
    """

    at: Time
    error: Problem
    task: Task | None = None
    raw: bytes | None = None
    topic: str | None = None
    partition: Count | None = None
    offset: Long | None = None
    history: list[Attempt] = []
    resolved: Resolved | None = None


class Kind(Record, frozen=True, kw_only=True):
    """A kind of task, announced by the service that does it."""

    kind: str
    tier: Tier
    service: str
    payload_schema: Json
    result_schema: Json
    description: str = ""


class ModelSpec(Record, frozen=True, kw_only=True):
    """A model as an operator wants it."""

    id: str
    source: str
    digest: str
    runner: str
    format: str
    state: str
    revision: Long
    by: str
    adapters: list[str] = []
    why: str = ""


class AuditEntry(Record, frozen=True, kw_only=True):
    """Who did what; entries of a chain hold the hash of the one before."""

    chain: str
    seq: Long
    previous: str
    at: Time
    actor: str
    address: str
    action: str
    resource: str
    code: str
    before: Json | None = None
    after: Json | None = None
