"""Errors as problem documents (RFC 9457), and request bodies read strictly: one size limit, one JSON.

A body is held whole, for its JSON is. So whoever sends one says first who they are, and of the large ones only some
are held at once; `/v1/blobs` takes any number, as streams.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from connectors import views
from connectors.errors import DrainingError, EdgeBusyError, PayloadTooLargeError, RequestError
from schemas.errors import BarnabasError
from schemas.nesting import MOST_INNER, is_wide

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger()

STATUS = {
    "request.invalid": HTTPStatus.BAD_REQUEST,
    "payload.invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "payload.too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "cursor.invalid": HTTPStatus.BAD_REQUEST,
    "kind.unknown": HTTPStatus.UNPROCESSABLE_ENTITY,
    "auth.unauthenticated": HTTPStatus.UNAUTHORIZED,
    "auth.forbidden": HTTPStatus.FORBIDDEN,
    "task.unknown": HTTPStatus.NOT_FOUND,
    "task.ended": HTTPStatus.CONFLICT,
    "schedule.unknown": HTTPStatus.NOT_FOUND,
    "schedule.taken": HTTPStatus.CONFLICT,
    "letter.unknown": HTTPStatus.NOT_FOUND,
    "letter.dropped": HTTPStatus.CONFLICT,
    "letter.replayed": HTTPStatus.CONFLICT,
    "letter.unreplayable": HTTPStatus.CONFLICT,
    "idempotency.conflict": HTTPStatus.CONFLICT,
    "blob.missing": HTTPStatus.NOT_FOUND,
    "blob.changed": HTTPStatus.CONFLICT,
    "blob.too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "blob.unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "edge.busy": HTTPStatus.SERVICE_UNAVAILABLE,
    "broker.unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "store.unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "lease.timeout": HTTPStatus.SERVICE_UNAVAILABLE,
    "lease.lost": HTTPStatus.SERVICE_UNAVAILABLE,
    "edge.draining": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each code; what is not here is the edge's own fault."""

BODY = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What a request with a body may be answered."""

RETRY_AFTER_SECONDS = "2"
MOST_LARGE = 4
"""Large bodies that are held at once: each is there as bytes, as a document and as what is made of it."""


def described(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes these problems."""
    document = {"schema": {"$ref": "#/components/schemas/ProblemView"}}
    return {
        status.value: {
            "description": status.phrase,
            "model": views.ProblemView,
            "content": {views.PROBLEM_JSON: document},
        }
        for status in statuses
    }


def answer(error: BarnabasError, status: HTTPStatus) -> Response:
    """Return an error as a response."""
    headers = {}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER_SECONDS
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    body = views.problem(error, status).model_dump_json(exclude_none=True)
    return Response(body, status, headers, views.PROBLEM_JSON)


class Draining:
    """Answers what a stop of the edge cuts off, for nobody else cancels a request: uvicorn would say that the edge failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if begun:
                raise
            await answer(DrainingError(), HTTPStatus.SERVICE_UNAVAILABLE)(scope, receive, send)


def handle(app: FastAPI) -> None:
    """Let an app answer every error as a problem document."""

    async def ours(_request: Request, error: Exception) -> Response:
        if not isinstance(error, BarnabasError):
            raise error
        return answer(error, STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR))

    async def invalid(_request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        field = ".".join(path[1:] if path[0] in {"body", "path", "query", "header"} and path[1:] else path)
        return answer(RequestError(first["msg"], field=field), HTTPStatus.UNPROCESSABLE_ENTITY)

    async def http(_request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        status = HTTPStatus(error.status_code)
        response = answer(RequestError(f"{status.description or status.phrase}"), status)
        response.headers.update(error.headers or {})
        return response

    async def unforeseen(request: Request, error: Exception) -> Response:
        _log.error("rest.failed", path=request.url.path, exc_info=error)
        return answer(BarnabasError("the edge failed; its log says why"), HTTPStatus.INTERNAL_SERVER_ERROR)

    app.add_middleware(Draining)
    app.add_exception_handler(BarnabasError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)


def strict_route(usual: int, most: int, authenticate: Callable[[str | None], object]) -> type[APIRoute]:
    """Return a route class whose bodies have a size limit and are strict JSON (no NaN, no lone surrogates).

    Args:
        usual: bytes of a body beyond which it is a large one.
        most: bytes of any body.
        authenticate: raises where the header `Authorization` names nobody who may send one.
    """
    large = _Large(usual)

    class StrictRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def strictly(request: Request) -> Response:
                if self.body_field is None:
                    return await handler(request)
                # Read before FastAPI does, which would tell of any failure as one of its own.
                authenticate(request.headers.get("authorization"))
                _check_type(request)
                with large.turn() as grown:
                    return await handler(_Read(request, await _whole(request, most, grown)))

            return strictly

    return StrictRoute


class _Read(Request):
    """A request whose body has been read."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._whole = body
        if is_wide(body):
            raise RequestError(f"the body holds more than {MOST_INNER} lists and objects", field="body")
        try:
            self._document: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(f"the body is not JSON: {error}", field="body") from None

    async def body(self) -> bytes:
        return self._whole

    async def json(self) -> Any:
        return self._document


class _Large:
    """Bounds how many large bodies are held at once."""

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._held = 0

    @contextmanager
    def turn(self) -> Iterator[Callable[[int], None]]:
        """Yield what is told how large a body has grown.

        Raises:
            EdgeBusyError: it grows large, and enough others have.
        """
        mine = 0

        def grown(size: int) -> None:
            nonlocal mine
            if size <= self._usual or mine:
                return
            if self._held >= MOST_LARGE:
                raise EdgeBusyError
            mine = 1
            self._held += 1

        try:
            yield grown
        finally:
            self._held -= mine


async def _whole(request: Request, most: int, grown: Callable[[int], None]) -> bytes:
    read = bytearray()
    try:
        async for chunk in request.stream():
            read += chunk
            if len(read) > most:
                raise PayloadTooLargeError(f"a body has at most {most} bytes: POST /v1/blobs takes more", field="body")
            grown(len(read))
    except ClientDisconnect:
        raise RequestError("the body did not come whole", field="body") from None
    return bytes(read)


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError("send the header `Content-Type: application/json`", field="Content-Type")
