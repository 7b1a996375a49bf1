"""What a text says about when, before anything is made of it: the grammar fills it, `backbone.phrase.meaning` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import time

LAST = -1
"""The place of the last one."""
LAST_WEEKDAY = -2
"""The last day of a month from Monday to Friday."""


@dataclass(slots=True)
class Said:
    """What a text says, as it says it.

    Attributes:
        again: it says that this comes again and again.
        once: it says that it doesn't.
        cadence: the `day`, `week`, `month` or `year` of which it says "every".
        step: seconds from one to the next.
        after: days and seconds from now.
        times: times of day.
        past: minutes past each hour.
        window: from which time of day to which, both included.
        weekdays: from 0, Sunday.
        places: of the weekday in the month, from 1; `LAST`.
        days: of the month; `LAST`, `LAST_WEEKDAY`.
        each_month: it says "of the month".
        months: from 1.
        year: of a date.
        ahead: 0 for today, 1 for tomorrow.
        which: `this` or `next` weekday.
    """

    again: bool = False
    once: bool = False
    cadence: str | None = None
    step: int | None = None
    after: tuple[int, int] | None = None
    times: list[time] = field(default_factory=list)
    past: list[int] = field(default_factory=list)
    window: tuple[time, time] | None = None
    weekdays: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    days: list[int] = field(default_factory=list)
    each_month: bool = False
    months: list[int] = field(default_factory=list)
    year: int | None = None
    ahead: int | None = None
    which: str | None = None
