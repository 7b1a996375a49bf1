"""Pure: when a timer is due. A slot is a moment at which a timer fires, in ms since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from backbone.clock import to_datetime
from streams.errors import TimerError

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.records import Timer


def check(timer: Timer) -> None:
    """Refuse a timer that means nothing.

    Raises:
        TimerError: naming the field.
    """
    if sum(value is not None for value in (timer.at, timer.cron, timer.every)) != 1:
        raise TimerError("give exactly one of `at`, `cron` and `every`", field="at")
    if timer.every is not None and timer.every < 1:
        raise TimerError("an interval is at least 1 ms", field="every")
    if (timer.template.task is None) == (timer.template.delivery is None):
        raise TimerError("give exactly one of `task` and `delivery`", field="template")
    if timer.cron is not None:
        _cron(timer, timer.created_at)


def next_slot(timer: Timer, after: int) -> int | None:
    """Return the first slot of a checked timer that is later than `after`, or None if there is none."""
    if timer.at is not None:
        return timer.at if timer.at > after else None
    if timer.every is not None:
        passed = max(0, after - timer.created_at) // timer.every
        return timer.created_at + (passed + 1) * timer.every
    try:
        return int(next(_cron(timer, after)).timestamp() * 1000)
    except StopIteration:
        return None


def _cron(timer: Timer, after: int) -> CronSim:
    try:
        zone = ZoneInfo(timer.tz or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        raise TimerError(f"there is no time zone {timer.tz!r}; use a name such as Europe/Berlin", field="tz") from None
    start: datetime = to_datetime(after).astimezone(zone)
    try:
        return CronSim(timer.cron or "", start)
    except CronSimError as error:
        raise TimerError(f"{error} in {timer.cron!r}", field="cron") from None
