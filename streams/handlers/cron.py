"""`cron.parse`: a cron expression to its next fires in a time zone, and what it means in English."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from backbone.cron import Cron, read_zone
from backbone.errors import CronError
from schemas.tiers import Tier
from streams.errors import PayloadError
from streams.handlers.port import Context, Handler

if TYPE_CHECKING:
    from datetime import datetime


class CronPayload(BaseModel):
    """What to read.

    Attributes:
        expression: five fields (Debian cron's meaning), six with seconds first, or a macro such as `@daily`.
        tz: the zone whose wall clock the fields mean.
        count: how many fires to return.
        after: fires later than this; now by default.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"expression": "0 8 * * MON-FRI", "tz": "Europe/Berlin", "count": 3}]},
    )

    expression: Annotated[str, Field(min_length=1, max_length=256)]
    tz: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    count: Annotated[int, Field(ge=1, le=1000)] = 5
    after: AwareDatetime | None = None


class CronResult(BaseModel):
    """The fires and the meaning.

    Attributes:
        fires: in order, with their zone's offset; fewer than asked where a century holds no more.
        description: a sentence in English.
    """

    expression: str
    tz: str
    fires: list[AwareDatetime]
    description: str


class CronParse(Handler[CronPayload, CronResult]):
    """Read a cron expression."""

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
        cron = Cron(payload.expression)
        fires = list(islice(cron.fires(after, zone), payload.count))
    except CronError as error:
        raise PayloadError(error.message, field=error.field) from None
    if not fires:
        raise PayloadError("it never fires: no day of the next century fits it", field="expression")
    description = f"{cron.description} ({payload.tz})."
    return CronResult(expression=payload.expression, tz=payload.tz, fires=fires, description=description)
