"""The JSON frames of the live protocols: what a client may say, and what it is told.

Client frames refuse unknown fields, so that a misspelt option is an error and not a silent default. Server frames are
encoded once, however many connections they go to.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from backbone.chain import MOST_STEPS
from connectors.errors import RequestError
from connectors.views import iso, problem_fields
from schemas.tiers import Tier

if TYPE_CHECKING:
    from schemas.errors import BarnabasError
    from schemas.records import TaskEvent


class _FromClient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    ref: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a chain; `{{ result.path }}` in its payload is looked up in the result of the step before."""

    kind: str
    payload: dict[str, Any]
    tier: Tier | None = None


class Submit(_FromClient, frozen=True, kw_only=True, tag="submit"):
    """Submit a task and subscribe to it; exactly one of `payload` and `payload_ref`.

    Attributes:
        attached: whether it is cancelled when this connection ends before it does.
    """

    kind: str
    payload: dict[str, Any] | None = None
    payload_ref: str | None = None
    tier: Tier | None = None
    ordering_key: str | None = None
    idempotency_key: str | None = None
    conversation: str | None = None
    then: Annotated[list[Step], msgspec.Meta(max_length=MOST_STEPS)] = []
    deadline: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    attached: bool = False


class Ask(_FromClient, frozen=True, kw_only=True, tag="ask"):
    """Submit an `llm.chat` and subscribe to it; exactly one of `prompt` and `messages`; `attached` as in `Submit`."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tier: Tier | None = None
    conversation: str | None = None
    idempotency_key: str | None = None
    options: dict[str, Any] = {}
    attached: bool = False


class Subscribe(_FromClient, frozen=True, kw_only=True, tag="subscribe"):
    """Get a task from its beginning, or all of one's own from now on."""

    task: str | None = None
    all: bool = False


class Unsubscribe(_FromClient, frozen=True, kw_only=True, tag="unsubscribe"):
    """End a subscription."""

    task: str | None = None
    all: bool = False


class Cancel(_FromClient, frozen=True, kw_only=True, tag="cancel"):
    """Stop a task."""

    task: str


class Ping(_FromClient, frozen=True, kw_only=True, tag="ping"):
    """Is anybody there?"""


FromClient = Submit | Ask | Subscribe | Unsubscribe | Cancel | Ping
_from_client = msgspec.json.Decoder(FromClient)


class _ToClient(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class Accepted(_ToClient, frozen=True, kw_only=True, tag="accepted"):
    """A submitted task is durable; `task` is its receipt."""

    ref: str | None = None
    task: msgspec.Raw


class Subscribed(_ToClient, frozen=True, kw_only=True, tag="subscribed"):
    """A subscription has begun."""

    ref: str | None = None
    task: str | None = None
    all: bool = False


class Cancelled(_ToClient, frozen=True, kw_only=True, tag="cancelled"):
    """A task was stopped by this client's wish."""

    ref: str | None = None
    task: str


class Pong(_ToClient, frozen=True, kw_only=True, tag="pong"):
    """Somebody is there."""

    ref: str | None = None


class Error(_ToClient, frozen=True, kw_only=True, tag="error"):
    """A frame could not be followed, or a subscription can't go on; the connection stays."""

    ref: str | None = None
    task: str | None = None
    code: str
    message: str
    field: str | None = None
    retryable: bool


class Event(_ToClient, frozen=True, kw_only=True, tag="event"):
    """Something happened to a task, and where the log says so."""

    task: str
    kind: str
    tier: str
    status: str
    attempt: int
    at: str
    topic: str
    partition: int
    offset: int
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result_ref: str | None = None
    error: dict[str, Any] | None = None
    note: str | None = None
    progress: float | None = None
    tokens: int | None = None
    step: int = 0
    next: str | None = None


class Tokens(_ToClient, frozen=True, kw_only=True, tag="tokens"):
    """The next `count` tokens of an answer, the first of which has this index; in order, no holes, no repeats."""

    task: str
    index: int
    count: int
    text: str


ToClient = Accepted | Subscribed | Cancelled | Pong | Error | Event | Tokens


class Packed(NamedTuple):
    """A frame and its JSON, shared by all who get it."""

    frame: ToClient
    data: bytes


def pack(frame: ToClient) -> Packed:
    """Return a frame with its JSON."""
    return Packed(frame, msgspec.json.encode(frame))


def raw(document: str) -> msgspec.Raw:
    """Return a JSON document as a field of a frame."""
    return msgspec.Raw(document.encode())


def read(data: str | bytes) -> FromClient:
    """Read a client's frame.

    Raises:
        RequestError: it is no such frame; `field` names where.
    """
    try:
        frame: FromClient = _from_client.decode(data)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise RequestError(message, field=path.strip(".`") or None) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError(f"a frame is one JSON object: {error}") from None
    return frame


def ref_of(data: str | bytes) -> str | None:
    """Return the `ref` of a frame that could not be read, if it shows one, so that the client knows which it was."""
    try:
        return msgspec.json.decode(data, type=_Ref).ref
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


class _Ref(msgspec.Struct):
    ref: str | None = None


def error(problem: BarnabasError, *, ref: str | None = None, task: str | None = None) -> Error:
    """Return the frame that tells of an error."""
    return Error(
        ref=ref,
        task=task,
        code=problem.code,
        message=problem.message,
        field=problem.field,
        retryable=problem.retryable,
    )


def event(record: TaskEvent, topic: str, partition: int, offset: int) -> Event:
    """Return the frame of an event at its place in the log."""
    return Event(
        task=record.task_id,
        kind=record.kind,
        tier=record.tier,
        status=record.status,
        attempt=record.attempt,
        at=iso(record.at),
        topic=topic,
        partition=partition,
        offset=offset,
        result=msgspec.UNSET if record.result is None else msgspec.Raw(record.result),
        result_ref=record.result_ref,
        error=None if record.error is None else problem_fields(record.error),
        note=record.note,
        progress=record.progress,
        tokens=record.tokens,
        step=record.step,
        next=record.next_id,
    )
