"""REST: tasks, schedules and kinds under `/v1`, and what the edge says of itself beside it.

OpenAPI at `/openapi.json` describes it, problems included; `/docs` shows that to people.
"""

from http import HTTPStatus
from typing import Annotated

import prometheus_client
from fastapi import APIRouter, Depends, Header, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader

from backbone.errors import StoreUnavailableError
from backbone.security.identity import Principal
from connectors import views
from connectors.door import Door, max_body, max_frame
from connectors.gateway import MAX_KEY
from connectors.plugin import Plugin, Services
from connectors.plugins import docs, rest_blobs, rest_events, rest_letters, rest_schedules
from connectors.plugins.problems import BODY, described, handle, strict_route
from connectors.plugins.rest_models import TaskBody

UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE

# Shown in OpenAPI; what it holds is judged by the gateway.
_authorization = APIKeyHeader(
    name="Authorization", description="`Bearer <API key>` (RFC 6750)", auto_error=False, scheme_name="bearer"
)
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=MAX_KEY)]


class RestPlugin(Plugin):
    """Serves REST."""

    name = "rest"

    _events: rest_events.Events

    def open(self, door: Door) -> None:
        """Put the routes on the port."""
        handle(door.app)
        door.app.include_router(_about(self.services))
        services = self.services
        self._events = rest_events.Events(services.gateway, services.live)
        route = strict_route(max_frame(services.settings), max_body(services.settings), services.gateway.authenticate)
        door.app.include_router(_v1(services, self._events, route))
        docs.serve(door.app)

    async def drain(self) -> None:
        """End the streams of events, which would never end by themselves."""
        self._events.drain()


def _about(services: Services) -> APIRouter:
    router = APIRouter(tags=["edge"])

    @router.get("/healthz")
    async def healthz() -> views.Alive:
        """Whether the edge answers."""
        return views.Alive(alive=True)

    @router.get("/readyz", responses={503: {"model": views.Ready, "description": "It does not serve yet."}})
    async def readyz(response: Response) -> views.Ready:
        """Whether the edge serves, and which services were there within the last seconds."""
        try:
            there = await services.who_is_there()
        except StoreUnavailableError:
            there = []  # Redis is away, which the edge's own readiness says
        ready = services.readiness
        response.status_code = HTTPStatus.OK if ready.ready else UNAVAILABLE
        return views.Ready(
            ready=ready.ready,
            detail=ready.detail,
            services=[
                views.Service(service=one.service, instance=one.instance, ready=one.ready, detail=one.detail)
                for one in there
            ],
        )

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """What is counted, as Prometheus reads it."""
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return router


def _v1(services: Services, events: rest_events.Events, route: type) -> APIRouter:
    gateway = services.gateway
    router = APIRouter(prefix="/v1", route_class=route, responses=described(UNAUTHORIZED, UNAVAILABLE))

    def caller(authorization: Annotated[str | None, Security(_authorization)]) -> Principal:
        return gateway.authenticate(authorization)

    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type

    @router.post("/tasks", status_code=202, tags=["tasks"], responses=described(*BODY, HTTPStatus.CONFLICT))
    async def submit(
        principal: Caller, body: TaskBody, response: Response, idempotency_key: IdempotencyKey = None
    ) -> views.Receipt:
        """Hand in a task. When this answers it is durable, and done at least once."""
        if idempotency_key and body.idempotency_key and idempotency_key != body.idempotency_key:
            wrong = {"loc": ("header", "Idempotency-Key"), "msg": "is another than the body's idempotency_key"}
            raise RequestValidationError([wrong])
        accepted = await gateway.submit(principal, body.submission(idempotency_key))
        response.headers["Location"] = f"/v1/tasks/{accepted.task.id}"
        return views.receipt(accepted.task, accepted.place)

    @router.get(
        "/tasks/{task_id}",
        response_model_exclude_none=True,
        tags=["tasks"],
        responses=described(HTTPStatus.NOT_FOUND),
    )
    async def task(principal: Caller, task_id: str) -> views.TaskState:
        """A task as it is now."""
        return views.task_state(await gateway.find(principal, task_id))

    @router.delete(
        "/tasks/{task_id}",
        response_model_exclude_none=True,
        tags=["tasks"],
        responses=described(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )
    async def cancel(principal: Caller, task_id: str) -> views.TaskState:
        """Cancel a task, whether it waits or runs."""
        return views.task_state(await gateway.cancel(principal, task_id))

    @router.get("/kinds", tags=["tasks"])
    async def kinds(_principal: Caller) -> views.Kinds:
        """The kinds of tasks that somebody serves."""
        return gateway.kinds.all()

    router.include_router(rest_events.routes(events, route, caller))
    router.include_router(rest_schedules.routes(services.schedules, route, caller))
    router.include_router(rest_blobs.routes(services.uploads, route, caller))
    router.include_router(rest_letters.routes(services.letters, route, caller))
    return router
