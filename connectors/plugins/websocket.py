"""The WebSocket protocol at `/v1/ws`: submit, ask, subscribe, cancel and ping, as JSON text frames (`connectors.frames`).

A frame that can't be followed is answered with an `error` frame and disturbs nothing else. Compression is off: it costs
35 KiB a connection, and tokens are small.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

import msgspec
import structlog
from fastapi import Response as HttpResponse
from websockets.exceptions import ConnectionClosed

from backbone.clock import to_ms
from backbone.errors import ForbiddenError
from connectors import asyncapi, frames, metrics, views
from connectors.asyncapi import PATH
from connectors.door import header, text_frame
from connectors.errors import RequestError
from connectors.gateway import MAX_KEY, Submission
from connectors.packed import View, pack
from connectors.payloads import StepWish
from connectors.plugin import Plugin
from connectors.showable import is_time
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from backbone.security.identity import Principal
    from connectors.door import Connection, Door
    from connectors.subscriber import Subscriber

NAME = "websocket"
TRY_AGAIN_LATER = 1013
"""Close code (IANA WebSocket Close Code Number Registry)."""
LAST_WORD_SECONDS = 5.0
AT_ONCE = 16
"""Submits and cancels of one connection that are followed side by side."""
ASKED = "llm.chat"

_log = structlog.get_logger()

_DOCUMENT = msgspec.json.encode(asyncapi.document())

_DELIVERIES = {
    frame: metrics.DELIVERIES.labels(protocol=NAME, type=frame.__name__.lower()) for frame in get_args(frames.ToClient)
}


class _Session:
    """Sends what waits for a connection while its socket takes it: at once, and again whenever it takes more."""

    __slots__ = ("_closing", "_connection", "_lost", "subscriber")

    subscriber: Subscriber

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._closing: asyncio.Task[None] | None = None
        self._lost = False
        connection.on_room = self.send

    def send(self) -> None:
        """Send what can be sent without waiting."""
        connection, subscriber = self._connection, self.subscriber
        while connection.has_room and (packed := subscriber.next()):
            if packed.wire is None:
                packed.wire = text_frame(packed.data)
            connection.send_frame(packed.wire)
            _DELIVERIES[type(packed.frame)].inc()
        if subscriber.lost and not self._lost:
            self._lost = True
            metrics.DROPPED.labels(protocol=NAME).inc()
            # It is told so if it reads again soon; else it would hold its socket for ever.
            connection.loop.call_later(LAST_WORD_SECONDS, connection.transport.abort)
        if self._lost and self._closing is None and connection.has_room:
            self._closing = connection.loop.create_task(connection.close(TRY_AGAIN_LATER, "too slow"))


class WebSocketPlugin(Plugin):
    """Serves `/v1/ws`, and the AsyncAPI document that describes it."""

    name = NAME

    def open(self, door: Door) -> None:
        """Put the path on the port."""
        door.sockets.add(PATH, self._admit, self._serve)

        @door.app.get("/asyncapi.json", include_in_schema=False)
        async def described() -> HttpResponse:
            return HttpResponse(_DOCUMENT, media_type="application/json")

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            self.services.gateway.authenticate(header(request, "Authorization"))
            _check_origin(request)
        except BarnabasError as error:
            status = HTTPStatus.FORBIDDEN if isinstance(error, ForbiddenError) else HTTPStatus.UNAUTHORIZED
            response = connection.respond(status, views.problem(error, status).model_dump_json(exclude_none=True))
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = views.PROBLEM_JSON
            if status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        return None

    async def _serve(self, connection: Connection) -> None:
        principal = self.services.gateway.authenticate(header(connection.request, "Authorization"))
        session = _Session(connection)
        subscriber = session.subscriber = self.services.live.open(principal, session.send)
        gauge = metrics.CONNECTIONS.labels(protocol=NAME)
        gauge.inc()
        try:
            async with asyncio.TaskGroup() as group:
                await self._read(connection, subscriber, principal, group)
        finally:
            gauge.dec()
            self.services.live.close(subscriber)
            await self.services.live.end_attached(subscriber, principal)

    async def _read(
        self, connection: Connection, subscriber: Subscriber, principal: Principal, group: asyncio.TaskGroup
    ) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def aside(frame: frames.FromClient) -> None:
            try:
                await self._follow(subscriber, principal, frame)
            finally:
                room.release()

        try:
            async for data in connection:
                try:
                    frame = _frame(data)
                except RequestError as error:
                    subscriber.tell(pack(frames.error(error, ref=frames.ref_of(data))))
                    continue
                if isinstance(frame, frames.Submit | frames.Ask | frames.Cancel):
                    # These wait for Kafka; subscriptions and pings need not wait for them, and keep their order.
                    await room.acquire()
                    group.create_task(aside(frame))
                else:
                    await self._follow(subscriber, principal, frame)
        except ConnectionClosed:
            return  # without a close frame, or by a broken one: nobody is there to be told

    async def _follow(self, subscriber: Subscriber, principal: Principal, frame: frames.FromClient) -> None:
        try:
            await self._do(subscriber, principal, frame)
        except BarnabasError as error:
            subscriber.tell(pack(frames.error(error, ref=frame.ref)))
        except Exception:  # noqa: BLE001 - told and logged: the other frames of this connection go on
            _log.exception("websocket.frame_failed", frame=type(frame).__name__)
            subscriber.tell(pack(frames.error(BarnabasError(), ref=frame.ref)))

    async def _do(self, subscriber: Subscriber, principal: Principal, frame: frames.FromClient) -> None:
        live = self.services.live
        match frame:
            case frames.Submit() | frames.Ask():
                await live.submit(subscriber, principal, _submission(frame), frame.ref, attached=frame.attached)
            case frames.Subscribe():
                task, view = _what(frame)
                if task is not None:
                    await live.subscribe(subscriber, principal, task, frame.ref, frame.cursor)
                else:
                    await live.follow(subscriber, principal, view, frame.ref, frame.cursor)
            case frames.Unsubscribe():
                live.unsubscribe(subscriber, *_what(frame))
            case frames.Cancel():
                await self.services.gateway.cancel(principal, frame.task)
                subscriber.tell(pack(frames.Cancelled(ref=frame.ref, task=frame.task)))
            case frames.Ping():
                subscriber.tell(pack(frames.Pong(ref=frame.ref)))


def _what(frame: frames.Subscribe | frames.Unsubscribe) -> tuple[str | None, View]:
    """Return the task or the view that a frame is about.

    Raises:
        RequestError: it is about none, or more than one.
    """
    if sum((frame.task is not None, frame.conversation is not None, frame.all)) != 1:
        raise RequestError("exactly one of task, conversation and all", field="task")
    if frame.conversation is not None and not 1 <= len(frame.conversation) <= MAX_KEY:
        raise RequestError(f"is 1 to {MAX_KEY} characters long", field="conversation")
    return frame.task, View(frame.all, frame.conversation)


def _frame(data: str | bytes) -> frames.FromClient:
    if isinstance(data, bytes):
        raise RequestError("frames are text, this one is binary")
    return frames.read(data)


def _submission(frame: frames.Submit | frames.Ask) -> Submission:
    for name in ("ordering_key", "idempotency_key", "conversation"):
        value = getattr(frame, name, None)
        if value is not None and not 1 <= len(value) <= MAX_KEY:
            raise RequestError(f"is 1 to {MAX_KEY} characters long", field=name)
    if isinstance(frame, frames.Submit):
        if frame.deadline is not None and not is_time(to_ms(frame.deadline)):
            raise RequestError("is before the year 1970 or after the year 9999 in UTC", field="deadline")
        return Submission(
            kind=frame.kind,
            payload=frame.payload,
            payload_ref=frame.payload_ref,
            tier=frame.tier,
            ordering_key=frame.ordering_key,
            idempotency_key=frame.idempotency_key,
            conversation=frame.conversation,
            then=tuple(StepWish(kind=step.kind, payload=step.payload, tier=step.tier) for step in frame.then),
            deadline=None if frame.deadline is None else to_ms(frame.deadline),
        )
    if (frame.prompt is None) == (frame.messages is None):
        raise RequestError("exactly one of prompt and messages", field="prompt")
    if "messages" in frame.options:
        raise RequestError("messages stand beside the options, not in them", field="options.messages")
    messages: list[dict[str, Any]] = frame.messages or [{"role": "user", "content": frame.prompt}]
    return Submission(
        kind=ASKED,
        payload={**frame.options, "messages": messages},
        tier=frame.tier,
        idempotency_key=frame.idempotency_key,
        conversation=frame.conversation,
    )


def _check_origin(request: Request) -> None:
    """Refuse pages of other origins (cross-site WebSocket hijacking, RFC 6455, section 10.2).

    Raises:
        ForbiddenError: a browser's page of another host asks.
    """
    if "Origin" not in request.headers:
        return  # no browser
    origin = header(request, "Origin") or ""
    if urlsplit(origin).netloc != header(request, "Host"):
        raise ForbiddenError(f"pages of {origin!r} may not connect", field="Origin")
