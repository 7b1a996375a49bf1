"""The WebSocket protocol at `/v1/ws`: submit, ask, subscribe, cancel and ping, as JSON text frames (`connectors.frames`).

A frame that can't be followed is answered with an `error` frame and disturbs nothing else. Compression is off: it costs
35 KiB a connection, and tokens are small.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from websockets.exceptions import ConnectionClosed

from backbone.clock import to_ms
from backbone.errors import ForbiddenError
from connectors import frames, metrics, views
from connectors.door import header
from connectors.errors import RequestError
from connectors.gateway import MAX_KEY, Submission
from connectors.payloads import StepWish
from connectors.plugin import Plugin
from connectors.showable import is_time
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from backbone.security.identity import Principal
    from connectors.door import Door
    from connectors.sessions import Subscriber

PATH = "/v1/ws"
NAME = "websocket"
TRY_AGAIN_LATER = 1013
"""Close code (IANA WebSocket Close Code Number Registry)."""
LAST_WORD_SECONDS = 5.0
AT_ONCE = 16
"""Submits and cancels of one connection that are followed side by side."""
ASKED = "llm.chat"

_log = structlog.get_logger()


class WebSocketPlugin(Plugin):
    """Serves `/v1/ws`."""

    name = NAME

    def open(self, door: Door) -> None:
        """Put the path on the port."""
        door.sockets.add(PATH, self._admit, self._serve)

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

    async def _serve(self, connection: ServerConnection) -> None:
        principal = self.services.gateway.authenticate(header(connection.request, "Authorization"))
        woken = asyncio.Event()

        def wake() -> None:
            woken.set()
            if subscriber.lost:  # it is told so if it reads again soon; else it would hold its socket for ever
                connection.loop.call_later(LAST_WORD_SECONDS, connection.transport.abort)

        subscriber = self.services.live.open(principal, wake)
        gauge = metrics.CONNECTIONS.labels(protocol=NAME)
        gauge.inc()
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(_write(connection, subscriber, woken))
                await self._read(connection, subscriber, principal, group)
                writer.cancel()
        finally:
            gauge.dec()
            self.services.live.close(subscriber)
            await self.services.live.end_attached(subscriber, principal)

    async def _read(
        self, connection: ServerConnection, subscriber: Subscriber, principal: Principal, group: asyncio.TaskGroup
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
                    subscriber.tell(frames.pack(frames.error(error, ref=frames.ref_of(data))))
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
            subscriber.tell(frames.pack(frames.error(error, ref=frame.ref)))
        except Exception:  # noqa: BLE001 - told and logged: the other frames of this connection go on
            _log.exception("websocket.frame_failed", frame=type(frame).__name__)
            subscriber.tell(frames.pack(frames.error(BarnabasError(), ref=frame.ref)))

    async def _do(self, subscriber: Subscriber, principal: Principal, frame: frames.FromClient) -> None:
        live = self.services.live
        match frame:
            case frames.Submit() | frames.Ask():
                await live.submit(subscriber, principal, _submission(frame), frame.ref, attached=frame.attached)
            case frames.Subscribe(task=None, all=True):
                live.subscribe_all(subscriber, frame.ref)
            case frames.Subscribe(task=str() as task, all=False):
                await live.subscribe(subscriber, principal, task, frame.ref)
            case frames.Unsubscribe(task=None, all=True):
                live.unsubscribe(subscriber, None)
            case frames.Unsubscribe(task=str() as task, all=False):
                live.unsubscribe(subscriber, task)
            case frames.Cancel():
                await self.services.gateway.cancel(principal, frame.task)
                subscriber.tell(frames.pack(frames.Cancelled(ref=frame.ref, task=frame.task)))
            case frames.Ping():
                subscriber.tell(frames.pack(frames.Pong(ref=frame.ref)))
            case _:
                raise RequestError("exactly one of task and all", field="task")


async def _write(connection: ServerConnection, subscriber: Subscriber, woken: asyncio.Event) -> None:
    """Send what waits, until the connection closes or reads too slowly."""
    try:
        while True:
            await woken.wait()
            woken.clear()
            while packed := subscriber.next():
                await connection.send(packed.data, text=True)
                metrics.DELIVERIES.labels(protocol=NAME, type=type(packed.frame).__name__.lower()).inc()
                if subscriber.lost:
                    metrics.DROPPED.labels(protocol=NAME).inc()
                    await connection.close(TRY_AGAIN_LATER, "too slow")
                    return
    except ConnectionClosed:
        return


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
