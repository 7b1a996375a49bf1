"""Errors as problem documents (RFC 9457), and request bodies read strictly: one size limit, one JSON."""

from __future__ import annotations

import asyncio
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
from connectors.errors import DrainingError, PayloadTooLargeError, RequestError
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger()

STATUS = {
    "request.invalid": HTTPStatus.BAD_REQUEST,
    "payload.invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "payload.too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
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


def strict_route(max_bytes: int) -> type[APIRoute]:
    """Return a route class whose bodies have a size limit and are strict JSON (no NaN, no lone surrogates)."""

    class StrictRequest(Request):
        async def body(self) -> bytes:
            if not hasattr(self, "_read"):
                self._read = await _whole(self, max_bytes)
            return self._read

        async def json(self) -> Any:
            try:
                return msgspec.json.decode(await self.body())
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise RequestError(f"the body is not JSON: {error}", field="body") from None

    class StrictRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def strictly(request: Request) -> Response:
                strict = StrictRequest(request.scope, request.receive)
                if self.body_field is not None:
                    # Read before FastAPI does, which would tell of any failure as one of its own.
                    _check_type(strict)
                    await strict.json()
                return await handler(strict)

            return strictly

    return StrictRoute


async def _whole(request: Request, max_bytes: int) -> bytes:
    read = bytearray()
    try:
        async for chunk in request.stream():
            read += chunk
            if len(read) > max_bytes:
                raise PayloadTooLargeError(f"a body has at most {max_bytes} bytes", field="body")
    except ClientDisconnect:
        raise RequestError("the body did not come whole", field="body") from None
    return bytes(read)


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError("send the header `Content-Type: application/json`", field="Content-Type")
