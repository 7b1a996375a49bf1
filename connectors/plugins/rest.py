"""REST: tasks, schedules and kinds under `/v1`, and what the edge says of itself beside it.

OpenAPI at `/openapi.json` describes it, problems included; `/docs` shows that to people.
"""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

import prometheus_client
from fastapi import APIRouter, Depends, Header, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader

from backbone.clock import now_ms
from backbone.errors import StoreUnavailableError
from backbone.security.identity import Principal
from connectors import views
from connectors.door import Door, max_request
from connectors.gateway import MAX_KEY
from connectors.plugin import Plugin, Services
from connectors.plugins import docs
from connectors.plugins.problems import described, handle, strict_route
from connectors.plugins.rest_models import ScheduleBody, TaskBody
from connectors.schedules import next_slot
from connectors.state import TimerState

UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE
BODY = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)

# Shown in OpenAPI; what it holds is judged by the gateway.
_authorization = APIKeyHeader(
    name="Authorization", description="`Bearer <API key>` (RFC 6750)", auto_error=False, scheme_name="bearer"
)
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=MAX_KEY)]


class RestPlugin(Plugin):
    """Serves REST."""

    name = "rest"

    def open(self, door: Door) -> None:
        """Put the routes on the port."""
        handle(door.app)
        door.app.include_router(_about(self.services))
        door.app.include_router(_v1(self.services, strict_route(max_request(self.services.settings))))
        docs.serve(door.app)


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


def _v1(services: Services, route: type) -> APIRouter:
    gateway, schedules = services.gateway, services.schedules
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

    @router.post(
        "/schedules",
        status_code=201,
        response_model_exclude_none=True,
        tags=["schedules"],
        responses=described(*BODY, HTTPStatus.CONFLICT),
    )
    async def schedule(principal: Caller, body: ScheduleBody, response: Response) -> views.Schedule:
        """Make a task later, or again and again."""
        state = await schedules.put(principal, body.wish())
        response.headers["Location"] = f"/v1/schedules/{quote(state.id, safe='')}"
        return _shown(state)

    @router.get(
        "/schedules/{schedule_id:path}",
        response_model_exclude_none=True,
        tags=["schedules"],
        responses=described(HTTPStatus.NOT_FOUND),
    )
    async def scheduled(principal: Caller, schedule_id: str) -> views.Schedule:
        """A schedule and the slots that are accounted for."""
        return _shown(await schedules.find(principal, schedule_id))

    @router.delete(
        "/schedules/{schedule_id:path}", status_code=204, tags=["schedules"], responses=described(HTTPStatus.NOT_FOUND)
    )
    async def unschedule(principal: Caller, schedule_id: str) -> None:
        """Remove a schedule; what it has made goes on."""
        await schedules.remove(principal, schedule_id)

    @router.get("/kinds", tags=["tasks"])
    async def kinds(_principal: Caller) -> views.Kinds:
        """The kinds of tasks that somebody serves."""
        return gateway.kinds.all()

    return router


def _shown(state: TimerState) -> views.Schedule:
    timer = state.timer
    return views.schedule(state, next_slot(timer, now_ms()) if timer and state.active else None)
