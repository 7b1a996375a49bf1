"""What happens, as server-sent events: of a task, of a conversation, or of all of one's own.

An event's id is the cursor after it. Whoever comes back with it in `Last-Event-ID`, as browsers do by themselves, is told the
rest, at any edge (WHATWG HTML, 9.2 Server-sent events).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Response
from fastapi.responses import StreamingResponse

from backbone.security.identity import Principal
from connectors import cursor as cursors
from connectors import metrics
from connectors.cursor import TaskCursor
from connectors.frames import Event
from connectors.gateway import MAX_KEY, Gateway
from connectors.live import Live
from connectors.packed import BY_TASK, Packed, View
from connectors.plugins.problems import described

if TYPE_CHECKING:
    from connectors.subscriber import Subscriber

NAME = "sse"
MEDIA_TYPE = "text/event-stream"
QUIET_SECONDS = 15.0
"""After so long without an event a comment is sent, so that nothing on the way takes the connection for dead."""
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events.", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
    **described(HTTPStatus.BAD_REQUEST),
}
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The id of the last event that came: the rest is told.")
]


class Events:
    """Streams of events, all of which end when the edge drains."""

    def __init__(self, gateway: Gateway, live: Live) -> None:
        self._gateway = gateway
        self._live = live
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End all streams: whoever reads one comes back to another edge."""
        self._draining.set()

    async def of_task(self, principal: Principal, task_id: str, cursor: str | None) -> Response:
        """Return the events of a task; 204 if all of them were told, which keeps browsers from coming back."""
        if cursor is not None and await self._is_over(principal, task_id, cursor):
            return Response(status_code=HTTPStatus.NO_CONTENT)
        stream = _Stream(self._live, principal, self._draining)
        try:
            await self._live.subscribe(stream.subscriber, principal, task_id, None, cursor)
        except BaseException:
            stream.close()
            raise
        return stream.response()

    async def of_view(self, principal: Principal, view: View, cursor: str | None) -> Response:
        """Return the events of a view."""
        stream = _Stream(self._live, principal, self._draining)
        try:
            await self._live.follow(stream.subscriber, principal, view, None, cursor)
        except BaseException:
            stream.close()
            raise
        return stream.response()

    async def _is_over(self, principal: Principal, task_id: str, text: str) -> bool:
        cursor = cursors.read(text)
        if not isinstance(cursor, TaskCursor):
            return False  # which `subscribe` refuses
        task, step = await self._gateway.find(principal, task_id), await self._gateway.find(principal, cursor.task)
        if task.about.root_id != step.about.root_id or step.end is None:
            return False
        return step.end.event.next_id is None and step.end.offset < cursor.position.events


class _Stream:
    """A subscriber, and the response that tells it."""

    def __init__(self, live: Live, principal: Principal, draining: asyncio.Event) -> None:
        self._live = live
        self._draining = draining
        self._woken = asyncio.Event()
        self.subscriber: Subscriber = live.open(principal, self._woken.set)

    def close(self) -> None:
        self._live.close(self.subscriber)

    def response(self) -> Response:
        # Proxies that buffer would hold tokens back.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(), media_type=MEDIA_TYPE, headers=headers)

    async def _events(self) -> AsyncIterator[bytes]:
        gauge = metrics.CONNECTIONS.labels(protocol=NAME)
        gauge.inc()
        draining = asyncio.create_task(self._draining.wait())
        try:
            while not self._draining.is_set():
                while packed := self.subscriber.next():
                    kind = type(packed.frame).__name__.lower()
                    metrics.DELIVERIES.labels(protocol=NAME, type=kind).inc()
                    yield _event(kind, packed)
                    if self.subscriber.lost:
                        metrics.DROPPED.labels(protocol=NAME).inc()
                        return
                    if _is_last(packed):
                        return
                woken = asyncio.create_task(self._woken.wait())
                done, _ = await asyncio.wait(
                    {woken, draining}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                woken.cancel()
                self._woken.clear()
                if not done:
                    yield b": nothing new\n\n"
        finally:
            draining.cancel()
            gauge.dec()
            self.close()


def _event(kind: str, packed: Packed) -> bytes:
    cursor = getattr(packed.frame, "cursor", None)
    identity = f"id: {cursor}\n" if cursor else ""
    return f"{identity}event: {kind}\ndata: ".encode() + packed.data + b"\n\n"


def _is_last(packed: Packed) -> bool:
    """Whether nothing follows in a subscription to a task."""
    frame = packed.frame
    by_task = packed.line is not None and packed.line.view == BY_TASK
    return by_task and isinstance(frame, Event) and frame.ends and frame.next is None


def routes(events: Events, route: type, caller: Callable[..., Principal]) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=route, tags=["events"])
    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type

    @router.get(
        "/tasks/{task_id}/events",
        response_class=StreamingResponse,
        responses=RESPONSES | described(HTTPStatus.NOT_FOUND) | {204: {"description": "All of them were told."}},
    )
    async def of_task(principal: Caller, task_id: str, last_event_id: LastEventId = None) -> Response:
        """What happens to a task, from its beginning, and to the steps that follow it, to the end of the last."""
        return await events.of_task(principal, task_id, last_event_id)

    @router.get("/conversations/{id}/events", response_class=StreamingResponse, responses=RESPONSES)
    async def of_conversation(
        principal: Caller,
        conversation: Annotated[str, Path(alias="id", min_length=1, max_length=MAX_KEY)],
        last_event_id: LastEventId = None,
    ) -> Response:
        """What happens in a conversation: what runs is told from its beginning, then all that comes."""
        return await events.of_view(principal, View(conversation=conversation), last_event_id)

    @router.get("/events", response_class=StreamingResponse, responses=RESPONSES)
    async def of_all(principal: Caller, last_event_id: LastEventId = None) -> Response:
        """What happens to all of one's own tasks: what runs is told from its beginning, then all that comes."""
        return await events.of_view(principal, View(all=True), last_event_id)

    return router
