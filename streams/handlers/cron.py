"""`cron.parse`: a cron expression, or a schedule in English, to its next fires in a time zone and what it means."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from backbone import when
from backbone.cron import HORIZON, Cron, read_zone
from backbone.errors import CronError, PhraseError
from schemas.tiers import Tier
from streams.errors import PayloadError
from streams.handlers.port import Context, Handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from backbone.phrase import Understood


class CronPayload(BaseModel):
    """What to read.

    Attributes:
        expression: five fields (Debian cron's meaning), six with seconds first, a macro such as `@daily`, or English
            such as `every weekday at 8`.
        tz: the zone whose wall clock is meant.
        count: how many fires to return.
        after: fires later than this, from which `in 20 minutes` counts; now by default.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"expression": "0 8 * * MON-FRI", "tz": "Europe/Berlin", "count": 3},
                {"expression": "on the last Friday of the month at noon"},
            ]
        },
    )

    expression: Annotated[str, Field(min_length=1, max_length=256)]
    tz: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    count: Annotated[int, Field(ge=1, le=1000)] = 5
    after: AwareDatetime | None = None


class CronResult(BaseModel):
    """The fires and the meaning; exactly one of `cron`, `every` and `at` is what was understood.

    Attributes:
        fires: in order, with their zone's offset; fewer than asked where a century holds no more.
        description: a sentence in English; `cron.parse` understands it again where a phrase can say as much.
        cron: the expression.
        every: seconds from one to the next; the first is that long after `after`.
        at: the only time.
    """

    expression: str
    tz: str
    fires: list[AwareDatetime]
    description: str
    cron: str | None = None
    every: float | None = None
    at: AwareDatetime | None = None


class CronParse(Handler[CronPayload, CronResult]):
    """Read a cron expression or a schedule in English."""

    kind = "cron.parse"
    tier = Tier.REALTIME
    payload = CronPayload
    result = CronResult

    async def run(self, payload: CronPayload, context: Context) -> CronResult:
        """Find the fires, in a thread: the day-by-day look for rare ones ends with a century, within 0.1 s.

        Raises:
            PayloadError: the expression, the zone or the time makes no sense; the message says what was expected.
        """
        return await asyncio.to_thread(_parse, payload, payload.after or context.now)


def _parse(payload: CronPayload, after: datetime) -> CronResult:
    try:
        zone = read_zone(payload.tz)
        understood = when.read(payload.expression, after, zone)
        fires = list(islice(_fires(understood, after, zone), payload.count))
    except CronError as error:
        raise PayloadError(error.message, field=error.field) from None
    except PhraseError as error:
        raise PayloadError(error.message, field="expression") from None
    except OverflowError:
        raise PayloadError(f"{after.isoformat()} is too near the calendar's end", field="after") from None
    if not fires:
        raise PayloadError("it never fires: no day of the next century fits it", field="expression")
    said = understood.sentence
    return CronResult(
        expression=payload.expression,
        tz=payload.tz,
        fires=fires,
        description=f"{said[0].upper()}{said[1:]} ({payload.tz}).",
        cron=understood.cron,
        every=None if understood.every is None else understood.every / 1000,
        at=understood.at,
    )


def _fires(understood: Understood, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    if understood.cron is not None:
        yield from Cron(understood.cron).fires(after, zone)
    elif understood.at is not None:
        yield understood.at
    elif understood.every is not None:
        fire = after.astimezone(UTC)
        end = fire + HORIZON
        while (fire := fire + timedelta(milliseconds=understood.every)) <= end:
            yield fire.astimezone(zone)
