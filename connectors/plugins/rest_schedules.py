"""REST for schedules: `/v1/schedules`.

An id may hold slashes: what is done with a schedule stands behind its id, and no id ends in `/history`.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Response

from backbone.clock import now_ms
from backbone.security.identity import Principal
from connectors import schedule_views
from connectors.plugins.problems import BODY, described
from connectors.plugins.rest_models import ScheduleBody
from connectors.schedules import Page, Schedules, upcoming
from connectors.state import TimerState

MAX_PAGE = 500
UPCOMING = 3

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=2000, description="`cursor` of the page before.")]


def routes(schedules: Schedules, route: type, caller: Callable[..., Principal]) -> APIRouter:
    """Return the routes.

    Args:
        schedules: what can be done with them.
        route: the class of the routes.
        caller: the dependency that says who is calling.
    """
    router = APIRouter(prefix="/schedules", route_class=route, tags=["schedules"])
    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type
    unknown = described(HTTPStatus.NOT_FOUND)
    page = described(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)

    @router.post("", status_code=201, response_model_exclude_none=True, responses=described(*BODY, HTTPStatus.CONFLICT))
    async def schedule(principal: Caller, body: ScheduleBody, response: Response) -> schedule_views.Schedule:
        """Make a task later, or again and again; a schedule of one's own with the same id is replaced."""
        state = await schedules.put(principal, body.wish())
        response.headers["Location"] = f"/v1/schedules/{quote(state.id, safe='')}"
        return await _shown(state)

    @router.get("", response_model_exclude_none=True, responses=page)
    async def listed(principal: Caller, *, limit: Limit = 50, cursor: Cursor = None) -> schedule_views.Schedules:
        """Schedules that are still to fire, the newest first, page by page: go on until no cursor comes."""
        return await asyncio.to_thread(_page, await schedules.page(principal, limit=limit, cursor=cursor))

    @router.get("/{schedule_id:path}/history", response_model_exclude_none=True, responses={**unknown, **page})
    async def history(
        principal: Caller, schedule_id: str, *, limit: Limit = 50, cursor: Cursor = None
    ) -> schedule_views.History:
        """What became of its slots, the newest first, page by page: the latest thousand fires of 30 days."""
        return schedule_views.history(await schedules.history(principal, schedule_id, limit=limit, cursor=cursor))

    @router.post("/{schedule_id:path}/pause", response_model_exclude_none=True, responses=unknown)
    async def pause(principal: Caller, schedule_id: str) -> schedule_views.Schedule:
        """Let it fire no more until it is resumed."""
        return await _shown(await schedules.pause(principal, schedule_id))

    @router.post("/{schedule_id:path}/resume", response_model_exclude_none=True, responses=unknown)
    async def resume(principal: Caller, schedule_id: str) -> schedule_views.Schedule:
        """Let it fire again; the slots that it had meanwhile are skipped, as paused."""
        return await _shown(await schedules.resume(principal, schedule_id))

    @router.get("/{schedule_id:path}", response_model_exclude_none=True, responses=unknown)
    async def scheduled(principal: Caller, schedule_id: str) -> schedule_views.Schedule:
        """A schedule and the slots that are accounted for."""
        return await _shown(await schedules.find(principal, schedule_id))

    @router.delete("/{schedule_id:path}", status_code=204, responses=unknown)
    async def unschedule(principal: Caller, schedule_id: str) -> None:
        """Remove a schedule; what it has made goes on."""
        await schedules.remove(principal, schedule_id)

    return router


async def _shown(state: TimerState) -> schedule_views.Schedule:
    """Return a schedule as clients see it; the next fires of a rare expression take a while to find."""
    return await asyncio.to_thread(_view, state, UPCOMING, whole=True)


def _page(page: Page) -> schedule_views.Schedules:
    views = [_view(state, 1, whole=False) for state in page.schedules]
    return schedule_views.Schedules(schedules=views, cursor=page.cursor)


def _view(state: TimerState, count: int, *, whole: bool) -> schedule_views.Schedule:
    slots = upcoming(state.timer, now_ms(), count) if state.timer and state.active else []
    return schedule_views.schedule(state, slots, whole=whole)
