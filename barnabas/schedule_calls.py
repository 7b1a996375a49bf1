"""What the client does with schedules: make, list, look at, pause, resume and remove them, and read what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from barnabas.calls import AT_ONCE, Calls
from barnabas.replies import Fire, Reply, Schedule

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from datetime import datetime, timedelta

    from schemas.tiers import Tier


class _Schedules(Reply, frozen=True, kw_only=True):
    schedules: list[Schedule]
    cursor: str | None = None


class _History(Reply, frozen=True, kw_only=True):
    fires: list[Fire]
    cursor: str | None = None


class ScheduleCalls(Calls):
    """The part of a client that is about schedules."""

    async def schedule(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        when: str | None = None,
        at: datetime | None = None,
        cron: str | None = None,
        tz: str | None = None,
        every: timedelta | None = None,
        tier: Tier | str | None = None,
        id: str | None = None,  # noqa: A002 - the contract's name
        jitter: timedelta | None = None,
        misfire: str | None = None,
        catch_up_limit: int | None = None,
        max_late: timedelta | None = None,
    ) -> Schedule:
        """Make a task later, or again and again; exactly one of `when`, `at`, `cron` and `every`.

        Args:
            kind: of the task.
            payload: of the task.
            when: in English, such as `every weekday at 8` or `in 20 minutes`; the answer's `when` says what was
                understood, and what is not understood is refused.
            at: once, at this (aware) time.
            cron: at each slot of a cron expression.
            tz: the zone that `when` and `cron` mean, such as `Europe/Berlin`; UTC by default.
            every: again and again, with this pause.
            tier: of the task; the kind's own by default.
            id: of the schedule; a schedule of one's own with the same id is replaced.
            jitter: each slot is moved by up to this much.
            misfire: what becomes of slots that passed while nothing ran: `fire_once`, `catch_up` or `skip`.
            catch_up_limit: with `catch_up`: how many are caught up with.
            max_late: a slot that is later than this is skipped.

        Raises:
            EdgeError: the edge refused; `code` and `field` say why.
        """
        task = {"kind": kind, "payload": payload} | ({} if tier is None else {"tier": tier})
        body = {
            "task": task,
            "when": when,
            "at": at and at.isoformat(),
            "cron": cron,
            "tz": tz,
            "every": _seconds(every),
            "id": id,
            "jitter": _seconds(jitter),
            "misfire": misfire,
            "catch_up_limit": catch_up_limit,
            "max_late": _seconds(max_late),
        }
        given = {name: value for name, value in body.items() if value is not None}
        return await self._ask("POST", "/v1/schedules", Schedule, given)

    async def schedules(self) -> AsyncGenerator[Schedule]:
        """Yield one's schedules that are still to fire, the newest first, each with its next slot and its last fire."""
        path = f"/v1/schedules?limit={AT_ONCE}"
        page = await self._ask("GET", path, _Schedules)
        while True:
            for schedule in page.schedules:
                yield schedule
            if page.cursor is None:
                return
            page = await self._ask("GET", f"{path}&{urlencode({'cursor': page.cursor})}", _Schedules)

    async def schedule_state(self, schedule: Schedule | str) -> Schedule:
        """Return a schedule with its next slots and its latest fires.

        Raises:
            EdgeError: there is no such schedule (`schedule.unknown`).
        """
        return await self._ask("GET", _path(schedule), Schedule)

    async def schedule_history(self, schedule: Schedule | str) -> AsyncGenerator[Fire]:
        """Yield what became of a schedule's slots, the newest first; of slots that were skipped for one reason, the range.

        Raises:
            EdgeError: there is no such schedule (`schedule.unknown`).
        """
        path = f"{_path(schedule)}/history?limit={AT_ONCE}"
        page = await self._ask("GET", path, _History)
        while True:
            for fire in page.fires:
                yield fire
            if page.cursor is None:
                return
            page = await self._ask("GET", f"{path}&{urlencode({'cursor': page.cursor})}", _History)

    async def pause_schedule(self, schedule: Schedule | str) -> Schedule:
        """Let a schedule fire no more until it is resumed.

        Raises:
            EdgeError: there is none that is still to fire (`schedule.unknown`).
        """
        return await self._ask("POST", f"{_path(schedule)}/pause", Schedule)

    async def resume_schedule(self, schedule: Schedule | str) -> Schedule:
        """Let a schedule that was paused fire again; the slots that it had meanwhile are skipped.

        Raises:
            EdgeError: there is none that is still to fire (`schedule.unknown`).
        """
        return await self._ask("POST", f"{_path(schedule)}/resume", Schedule)

    async def unschedule(self, schedule: Schedule | str) -> None:
        """Remove a schedule; what it has made goes on.

        Raises:
            EdgeError: there is none that is still to fire (`schedule.unknown`).
        """
        await self._request("DELETE", _path(schedule))


def _path(schedule: Schedule | str) -> str:
    return f"/v1/schedules/{quote(schedule if isinstance(schedule, str) else schedule.id, safe='')}"


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
