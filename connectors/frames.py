"""The JSON frames of the live protocols: what a client may say, and what it is told.

Client frames refuse unknown fields, so that a misspelt option is an error and not a silent default. Server frames are
encoded once, however many connections they go to.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from backbone.chain import MOST_STEPS
from connectors.errors import RequestError
from connectors.views import iso, problem_fields
from schemas.records import Status
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
    """Get a task from its beginning, or those of a conversation or all of one's own from now on; with a cursor, the rest."""

    task: str | None = None
    conversation: str | None = None
    all: bool = False
    cursor: str | None = None


class Unsubscribe(_FromClient, frozen=True, kw_only=True, tag="unsubscribe"):
    """End a subscription."""

    task: str | None = None
    conversation: str | None = None
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
    """A submitted task is durable; `task` is its receipt, and the cursor stands at its beginning."""

    ref: str | None = None
    task: msgspec.Raw
    cursor: str | None = None


class Subscribed(_ToClient, frozen=True, kw_only=True, tag="subscribed"):
    """A subscription has begun; what comes follows the cursor."""

    ref: str | None = None
    task: str | None = None
    conversation: str | None = None
    all: bool = False
    cursor: str | None = None


class Cancelled(_ToClient, frozen=True, kw_only=True, tag="cancelled"):
    """A task was stopped by this client's wish."""

    ref: str | None = None
    task: str


class Pong(_ToClient, frozen=True, kw_only=True, tag="pong"):
    """Somebody is there."""

    ref: str | None = None


class Resume(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a `subscribe` frame takes to go on with a subscription that ended."""

    task: str | None = None
    conversation: str | None = None
    all: bool = False
    cursor: str


class Error(_ToClient, frozen=True, kw_only=True, tag="error"):
    """A frame could not be followed, or a subscription can't go on; the connection stays, unless it says how to `resume`."""

    ref: str | None = None
    task: str | None = None
    code: str
    message: str
    field: str | None = None
    retryable: bool
    via: str | None = None
    resume: list[Resume] = []


class Event(_ToClient, frozen=True, kw_only=True, tag="event"):
    """Something happened to a task, and where the log says so.

    Attributes:
        via: the subscription by which it comes, see `View.name`; none: that to the task.
        cursor: what follows it in its subscription.
    """

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
    via: str | None = None
    cursor: str | None = None

    @property
    def ends(self) -> bool:
        """Whether it is a terminal one."""
        return Status(self.status).terminal


class Tokens(_ToClient, frozen=True, kw_only=True, tag="tokens"):
    """The next `count` tokens of an answer, the first of which has this index; `via` and `cursor` as in `Event`."""

    task: str
    index: int
    count: int
    text: str
    via: str | None = None
    cursor: str | None = None


class Gap(_ToClient, frozen=True, kw_only=True, tag="gap"):
    """What the log has no more: tokens of a task from `index` on, before `until`, or what happened between two times.

    Attributes:
        after: when the last record was written that is known to have been told.
        before: when the first one was that can still be told.
        via: as in `Event`.
        cursor: as in `Event`.
    """

    task: str | None = None
    index: int | None = None
    until: int | None = None
    after: str | None = None
    before: str | None = None
    via: str | None = None
    cursor: str | None = None


ToClient = Accepted | Subscribed | Cancelled | Pong | Error | Event | Tokens | Gap


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


def error(problem: BarnabasError, **about: Any) -> Error:
    """Return the frame that tells of an error; `about` are the frame's fields that the error does not fill."""
    return Error(
        **about,
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
