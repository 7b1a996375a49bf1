"""REST for dead letters: `/v1/dead-letters`."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from backbone.clock import to_ms
from backbone.security.identity import Principal
from connectors import letter_views, views
from connectors.letter_state import LetterStatus
from connectors.letters import MAX_PAGE, Letters, Wanted
from connectors.plugins.problems import described
from connectors.plugins.rest_models import Instant

Since = Annotated[Instant | None, Query(description="The earliest time at which they became dead letters.")]
Before = Annotated[Instant | None, Query(description="The time before which they did.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=2000, description="`cursor` of the page before.")]


def routes(letters: Letters, route: type, caller: Callable[..., Principal]) -> APIRouter:
    """Return the routes.

    Args:
        letters: what can be done with them.
        route: the class of the routes.
        caller: the dependency that says who is calling.
    """
    router = APIRouter(prefix="/dead-letters", route_class=route, tags=["dead letters"])
    Caller = Annotated[Principal, Depends(caller)]  # noqa: N806 - a type
    # `:path`, for whoever produces straight to Kafka may have named a task `a/b`.

    @router.get("", responses=described(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY))
    async def listed(
        principal: Caller,
        *,
        kind: Annotated[str | None, Query(description="Of their tasks.")] = None,
        code: Annotated[str | None, Query(description="Of their errors.")] = None,
        status: Annotated[LetterStatus | None, Query(description="What was done with them; any by default.")] = None,
        since: Since = None,
        before: Before = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> letter_views.DeadLetters:
        """Dead letters, the newest first, page by page: go on until no cursor comes."""
        times = {name: to_ms(time) for name, time in (("since", since), ("before", before)) if time is not None}
        wanted = Wanted(kind=kind, code=code, status=status, **times)
        return letter_views.page(await letters.page(principal, wanted, limit=limit, cursor=cursor))

    @router.get("/{letter_id:path}", response_model_exclude_none=True, responses=described(HTTPStatus.NOT_FOUND))
    async def letter(principal: Caller, letter_id: str) -> letter_views.WholeDeadLetter:
        """A dead letter with what it carries, its attempts, and what was done with it."""
        return letter_views.whole(*await letters.find(principal, letter_id))

    @router.post(
        "/{letter_id:path}/replay",
        status_code=202,
        responses=described(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    async def replay(
        principal: Caller,
        letter_id: str,
        request: Request,
        response: Response,
        *,
        once: Annotated[bool, Query(description="Refuse it if there was a replay before.")] = False,
    ) -> views.Receipt:
        """Hand its task in again: a new task with fresh times that points to the letter."""
        accepted = await letters.replay(principal, letter_id, _address(request), once=once)
        response.headers["Location"] = f"/v1/tasks/{accepted.task.id}"
        return views.receipt(accepted.task, accepted.place)

    @router.delete("/{letter_id:path}", status_code=204, responses=described(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))
    async def drop(principal: Caller, letter_id: str, request: Request) -> None:
        """Put it aside for good; what its replays do goes on."""
        await letters.drop(principal, letter_id, _address(request))

    return router


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
