"""What is said of a schedule, so that it can be said again: each sentence is one that is understood to the same thing.

A cron expression that no phrase makes is told by the cron library's sentence, which is longer and can't be typed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backbone.cron import Cron, ordinal_suffix
from backbone.phrase.words import MONTHS, ORDINALS, UNITS, WEEKDAYS

if TYPE_CHECKING:
    from datetime import datetime

MOST_TIMES = 6
"""The most times of day that a sentence lists."""

_SHORT_DAYS = {name[:3].upper(): number for number, name in enumerate(WEEKDAYS)} | {str(n): n % 7 for n in range(8)}
_SHORT_MONTHS = {name[:3].upper(): number for number, name in enumerate(MONTHS, 1)}
_SHORT_MONTHS |= {str(number): number for number in range(1, 13)}
_EVERY_WEEKDAY = {"MON-FRI", "1-5"}


def of_cron(cron: Cron) -> str:
    """Return an expression as a sentence, without its zone."""
    fields = cron.fields.split()
    return (len(fields) == 5 and _of_fields(*fields)) or cron.description


def of_every(milliseconds: int) -> str:
    """Return an interval as a sentence."""
    if milliseconds % 1000:
        return f"every {milliseconds / 1000:g} seconds"
    seconds = milliseconds // 1000
    unit = next(unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0)
    count = seconds // UNITS[unit]
    if count == 1 and unit not in {"day", "week"}:
        return f"every {unit}"
    return f"every {count} {unit}{'' if count == 1 else 's'}"


def of_moment(moment: datetime) -> str:
    """Return a moment as a sentence; the zone is that of the time."""
    clock = moment.strftime("%H:%M:%S" if moment.second else "%H:%M")
    weekday = WEEKDAYS[moment.isoweekday() % 7]
    return f"once, on {weekday} {moment.day} {MONTHS[moment.month - 1]} {moment.year} at {clock}"


def joined(parts: list[str]) -> str:
    """Return `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _of_fields(minute: str, hour: str, day: str, month: str, weekday: str) -> str | None:
    months = _listed(month, _SHORT_MONTHS)
    date = None if months is None else _days(day, weekday, months)
    if date is None:
        return None
    if (times := _times(minute, hour)) is not None:
        return f"{date[0]} at {times}"
    if (step := _step(minute, hour)) is None or date[1] is None:
        return None
    said, needs_days = step
    return None if needs_days and not date[1] else f"{said}{date[1]}"


def _times(minute: str, hour: str) -> str | None:
    """Return `08:00 and 20:00`."""
    hours = _listed(hour)
    if not minute.isdecimal() or not hours or len(hours) > MOST_TIMES:
        return None
    return joined([f"{at:02}:{int(minute):02}" for at in hours])


def _step(minute: str, hour: str) -> tuple[str, bool] | None:
    """Return what is said of a step through the day, and whether that means so only beside days.

    By itself, `every 15 minutes` is an interval, which begins whenever it is made.
    """
    minutes = _listed(minute)
    if hour == "*" and minutes and len(minutes) <= MOST_TIMES:
        return f"every hour at {joined([f':{one:02}' for one in minutes])}", False
    if (found := re.fullmatch(r"\*(?:/(\d+))?", minute)) and 60 % (step := int(found[1] or 1)) == 0:
        often = "minute" if step == 1 else f"{step} minutes"
        if hour == "*":
            return f"every {often}", True
        if window := re.fullmatch(r"(\d+)(?:-(\d+))?", hour):
            last = int(window[2] or window[1])
            return f"every {often} between {int(window[1]):02}:00 and {last:02}:{60 - step:02}", False
    if minute == "0" and (found := re.fullmatch(r"\*/(\d+)", hour)) and 24 % int(found[1]) == 0 and int(found[1]) > 1:
        return f"every {int(found[1])} hours", True
    if minute.isdecimal() and (window := re.fullmatch(r"(\d+)-(\d+)(?:/(\d+))?", hour)):
        first, last, step = int(window[1]), int(window[2]), int(window[3] or 1)
        last -= (last - first) % step
        if last > first:
            often = "hour" if step == 1 else f"{step} hours"
            return f"every {often} between {first:02}:{int(minute):02} and {last:02}:{int(minute):02}", False
    return None


def _days(day: str, weekday: str, months: list[int]) -> tuple[str, str | None] | None:
    """Return what is said of the days before `at …`, and what after `every … hours`; None where none can follow that."""
    named = joined([MONTHS[month - 1] for month in months]) if months else ""
    inside = f" in {named}" if named else ""
    if day == "*" and weekday == "*":
        return f"every day{inside}", inside
    if day == "*":
        if weekday in _EVERY_WEEKDAY:
            return f"every weekday{inside}", f" on weekdays{inside}"
        if weekdays := _listed(weekday, _SHORT_DAYS):
            names = [WEEKDAYS[number] for number in weekdays]
            return f"every {joined(names)}{inside}", f" on {joined([f'{name}s' for name in names])}{inside}"
        which = _placed_weekday(weekday)
    else:
        which = _placed_day(day) if weekday == "*" else None
    if which is None:
        return None
    if named:
        return f"every year on {which} of {named}", None
    return f"on {which} of every month", f" on {which} of every month"


def _placed_weekday(weekday: str) -> str | None:
    """Return `the first and third Monday`."""
    found = [re.fullmatch(r"(\w+?)(?:#(\d)|L)", term) for term in weekday.split(",")]
    names = {_SHORT_DAYS[one[1]] for one in found if one}
    if None in found or len(names) != 1:
        return None
    places = [ORDINALS[int(one[2]) - 1] if one[2] else "last" for one in found if one]
    return f"the {joined(places)} {WEEKDAYS[names.pop()]}"


def _placed_day(day: str) -> str | None:
    """Return `the 1st and 15th`, `the last day`, `the 15th and last day` or `the last weekday`."""
    if day == "LW":
        return "the last weekday"
    terms = day.split(",")
    if not all(term == "L" or term.isdecimal() for term in terms):
        return None
    said = ["last" if term == "L" else f"{int(term)}{ordinal_suffix(int(term))}" for term in terms]
    return f"the {joined(said)}{' day' if 'L' in terms else ''}"


def _listed(field: str, names: dict[str, int] | None = None) -> list[int] | None:
    """Return the numbers of a field that is a list of them; of `*` none, and None where it is anything else."""
    if field == "*":
        return []
    terms = field.split(",")
    if names is None:
        return [int(term) for term in terms] if all(term.isdecimal() for term in terms) else None
    return [names[term] for term in terms] if all(term in names for term in terms) else None
