"""REST for blobs: `/v1/blobs` takes what is too large for a payload as a stream, and gives it back."""

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Send

from backbone.security.identity import Principal
from connectors import views
from connectors.errors import RequestError
from connectors.plugins.problems import described
from connectors.uploads import Uploads
from schemas.errors import BarnabasError

_log = structlog.get_logger()

BYTES = "application/octet-stream"
_BODY: dict[str, Any] = {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
"""What people upload is theirs, and no page of this origin."""


def routes(uploads: Uploads, route: type, caller: Callable[..., Principal]) -> APIRouter:
    """Return the routes.

    Args:
        uploads: where they go.
        route: the class of the routes.
        caller: the dependency that says who is calling.
    """
    router = APIRouter(prefix="/blobs", route_class=route, tags=["blobs"])
    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type

    @router.post(
        "",
        status_code=201,
        responses=described(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        openapi_extra={"requestBody": {**_BODY, "required": True}},
    )
    async def upload(principal: Caller, request: Request, response: Response) -> views.Blob:
        """Upload bytes as they are; the ref that this answers names them in payloads of one's own tasks."""
        made = await uploads.take(principal, _pieces(request), _length(request))
        response.headers["Location"] = f"/v1/blobs/{made.ref}"
        return views.Blob(ref=made.ref, size=made.size, sha256=made.sha256)

    @router.get(
        "/{ref}",
        response_class=Response,
        responses={
            200: _BODY,
            304: {"description": "It is what the caller has."},
            **described(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        },
    )
    async def download(
        principal: Caller, ref: str, if_none_match: Annotated[str | None, Header(max_length=1000)] = None
    ) -> Response:
        """The bytes of a blob of one's own."""
        found = await uploads.give(principal, ref)
        headers = {**_SAFE, "ETag": f'"{ref.rpartition(":")[2]}"'}
        if if_none_match is not None and headers["ETag"] in if_none_match:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        headers["Content-Length"] = str(found.size)
        return _Whole(found.pieces, headers=headers, media_type=BYTES)

    return router


class _Whole(StreamingResponse):
    """A download that is cut off before its last byte where it can't be had whole."""

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except BarnabasError as error:
            # Its head is sent: what is left to say is to close, as uvicorn does with an answer that does not end.
            _log.warning("blob.download_cut", code=error.code)


def _length(request: Request) -> int | None:
    said = request.headers.get("content-length")
    return int(said) if said is not None and said.isdecimal() else None


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise RequestError("the body did not come whole", field="body") from None
