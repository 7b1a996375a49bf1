"""What is made of a text that was read: a cron expression, an interval or a moment, or why it is none of these.

Nothing is guessed: what could mean two things is refused, with both ways to say it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from backbone.phrase.said import LAST, LAST_WEEKDAY, Said
from backbone.phrase.steps import through_the_day
from backbone.phrase.words import MONTHS, WEEKDAYS, refused

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def interval_of(said: Said) -> int | None:
    """Return the seconds of a text that says a step and nothing else; None if it says more."""
    if said.step is None or _beside(said):
        return None
    if said.once:
        raise refused("once, or every time? leave out one of them")
    return said.step


def cron_of(said: Said) -> str | None:
    """Return the fields of a text that says something that comes again; None if it says something that comes once.

    Raises:
        PhraseError: it is said in a way that could mean two things, or that one line of cron can't hold.
    """
    # "on the 1st and 15th" can't be once.
    listed_days = len(said.days) > 1 and not said.months
    if not (said.again or said.cadence or said.each_month or said.step is not None or listed_days or said.past):
        return None
    for told, name in ((said.once, "once"), (said.year, str(said.year)), (said.which, str(said.which))):
        if told:
            raise refused(f"it says `{name}` and that it comes again: leave out one of them")
    if said.ahead is not None or said.after is not None:
        raise refused("it says a single day and that it comes again: leave out one of them")
    days = _days(said)
    if said.step is not None or said.past:
        return f"{through_the_day(said, days)} {days}"
    if said.window:
        raise refused("how often between these times? say `every 2 hours between 9:00 and 17:00`")
    if not said.times:
        raise refused("at what time? say for example `every weekday at 8`")
    if len({(at.minute, at.second) for at in said.times}) > 1:
        raise refused("times with different minutes don't fit in one cron line: make a schedule of each")
    if said.times[0].second:
        raise refused("what comes again comes at a full minute: leave the seconds out")
    hours = sorted({at.hour for at in said.times})
    return f"{said.times[0].minute} {','.join(map(str, hours))} {days}"


def moment_of(said: Said, now: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment of a text that says something that comes once.

    Raises:
        PhraseError: it is past, it does not exist in that zone, or it is not clear which one is meant.
        OverflowError: no calendar has it.
    """
    here = now.astimezone(zone)
    if said.after is not None:
        return _later(said, here)
    if said.window:
        raise refused("how often between these times? say `every 2 hours between 9:00 and 17:00`")
    days = _candidates(said, here)
    if len(said.times) != 1:
        raise refused("at what time? say one, such as `tomorrow at 9`" if not said.times else "once has one time")
    at = said.times[0]
    moments = [datetime.combine(day, at, tzinfo=zone) for day in days]
    moment = next((one for one in moments if one.astimezone(UTC) > now.astimezone(UTC)), None)
    if moment is None:
        raise refused(f"{moments[0]:%Y-%m-%d %H:%M} is past")
    return _unmistakable(moment)


def _later(said: Said, here: datetime) -> datetime:
    if said.after is None or _beside(said):
        raise refused("`in …` says it all: leave out the day and the time")
    days, seconds = said.after
    if days + seconds == 0:
        raise refused("in 0 is now: hand the task in by itself, without a schedule")
    day = here.replace(tzinfo=None) + timedelta(days=days)
    begin = _unmistakable(day.replace(tzinfo=here.tzinfo)) if days else here
    later = (begin.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(here.tzinfo)
    # To the full second, and never earlier than was said.
    return later if later.microsecond == 0 else later.replace(microsecond=0) + timedelta(seconds=1)


def _candidates(said: Said, here: datetime) -> list[datetime]:
    """Return the days that may be meant, the earliest first."""
    today = here.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    if said.places:
        raise refused("once, every month or every year? say `on the first Monday of the month` or a date")
    if said.ahead is not None:
        if said.weekdays or said.days or said.months:
            raise refused("it says two days: leave out one of them")
        return [today + timedelta(days=said.ahead)]
    if said.days:
        return _dates(said, today)
    if said.weekdays:
        return _next_weekday(said, today)
    if said.months:
        raise refused("on which day? say `on 24 December`, or `every day in December`")
    raise refused("on which day? say `today at …`, `tomorrow at …` or `every day at …`")


def _dates(said: Said, today: datetime) -> list[datetime]:
    if not said.months:
        raise refused("once or every month? say `on the 15th of every month`, or a date such as `on 15 December`")
    if len(said.days) > 1 or len(said.months) > 1 or min(said.days) < 1:
        raise refused("once or every year? say `every year on …`, or one date")
    day, month = said.days[0], said.months[0]
    years = [said.year] if said.year is not None else range(today.year, min(today.year + 9, 10_000))
    found = []
    for year in years:
        try:
            found.append(datetime(year, month, day))  # noqa: DTZ001 - a day; its time and zone come after
        except ValueError:
            continue
    if not found:
        raise refused(f"{day} {MONTHS[month - 1]} {said.year or ''}".rstrip() + " is in no calendar")
    if said.weekdays and said.weekdays != [found[0].isoweekday() % 7]:
        if said.year is None:
            raise refused("a day of the week and a date: say the year as well, or leave out one of them")
        raise refused(f"{day} {MONTHS[month - 1]} {said.year} is a {WEEKDAYS[found[0].isoweekday() % 7]}")
    return found[:1] if said.weekdays else found


def _next_weekday(said: Said, today: datetime) -> list[datetime]:
    if len(said.weekdays) > 1:
        raise refused("once or every week? say `every Monday and Thursday`, or one day")
    if said.months:
        raise refused("which one of that month, or each? say `every Monday in December`, or a date")
    ahead = (said.weekdays[0] - today.isoweekday()) % 7
    if said.which == "next":
        return [today + timedelta(days=ahead or 7)]
    days = [today + timedelta(days=ahead)]
    return days if said.which == "this" else [*days, days[0] + timedelta(days=7)]


def _unmistakable(moment: datetime) -> datetime:
    """Return a time that a clock shows exactly once.

    Raises:
        PhraseError: the clock is put forward over it, or back to it.
    """
    if moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) != moment.replace(tzinfo=None):
        raise refused(f"{moment:%Y-%m-%d %H:%M} does not exist in {moment.tzinfo}: its clock is put forward then")
    if moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset():
        raise refused(
            f"{moment:%Y-%m-%d %H:%M} comes twice in {moment.tzinfo}, where the clock is put back: "
            "give `at` with its offset from UTC"
        )
    return moment


def _beside(said: Said) -> bool:
    """Whether it says anything beside a step or a duration."""
    more = (said.times, said.past, said.window, said.weekdays, said.places, said.days, said.months, said.cadence)
    return any(more) or said.ahead is not None or (said.after is not None and said.step is not None)


def _days(said: Said) -> str:
    """Return day of month, month and day of week."""
    month = ",".join(map(str, sorted(set(said.months)))) or "*"
    if said.days and said.weekdays:
        raise refused("a day of the month and a day of the week: say one of them, cron would take either")
    if said.places:
        _check_places(said)
        return f"* {month} {_placed(said)}"
    if said.days:
        return f"{_days_of_month(said)} {month} *"
    _need_day_of_month(said)
    if said.weekdays:
        if not said.again and said.cadence != "week":
            raise refused("once or every week? say `every Monday`, or `on Mondays`")
        if said.cadence == "day":
            raise refused("every day, or on these days? leave out one of them")
        return f"* {month} {_weekdays(said.weekdays)}"
    if said.cadence == "week":
        raise refused("on which day of the week? say for example `every Monday at 9`")
    if said.months and said.cadence is None and said.step is None and not said.past:
        raise refused("on which day? say `every day in December`, or `every 24 December`")
    return f"* {month} *"


def _need_day_of_month(said: Said) -> None:
    if said.cadence == "year":
        raise refused("on which day of it? say for example `every year on 24 December at noon`")
    if said.each_month or said.cadence == "month":
        raise refused("on which day of it? say for example `every month on the 15th at 9`")


def _check_places(said: Said) -> None:
    if len(set(said.weekdays)) > 1:
        raise refused("say it of one day of the week: `the first Monday of the month`")
    if said.cadence in {"day", "week"}:
        raise refused("every day or week, or of a month? leave out one of them")
    if not (said.each_month or said.months or said.cadence == "month"):
        name = WEEKDAYS[said.weekdays[0]]
        raise refused(f"of the month, or counted from some {name}? say `the second {name} of the month`")
    if said.cadence == "year" and not said.months:
        raise refused("of which month? say `every year on the first Monday of January`")
    if said.months and not said.again and said.cadence != "year":
        raise refused("once or every year? say `every year on the first Monday of January`, or a date")


def _placed(said: Said) -> str:
    name = WEEKDAYS[said.weekdays[0]][:3].upper()
    places = sorted(set(said.places), key=lambda place: 9 if place == LAST else place)
    return ",".join(f"{said.weekdays[0]}L" if place == LAST else f"{name}#{place}" for place in places)


def _days_of_month(said: Said) -> str:
    if said.cadence in {"day", "week"}:
        raise refused("every day or week, or on these days of the month? leave out one of them")
    if said.cadence == "year" and not said.months:
        raise refused("in which month? say `every year on 24 December`")
    if said.months and not said.again and said.cadence != "year":
        raise refused("once or every year? say `every year on …`, or one date and its time")
    if not said.months and not (said.again or said.each_month or said.cadence or len(said.days) > 1):
        raise refused("once or every month? say `on the 15th of every month`")
    names = {LAST: "L", LAST_WEEKDAY: "LW"}
    days = sorted(set(said.days), key=lambda day: 99 if day < 0 else day)
    return ",".join(names.get(day, str(day)) for day in days)


def _weekdays(days: list[int]) -> str:
    if sorted(days) == [1, 2, 3, 4, 5]:
        return "MON-FRI"
    # The week begins with Monday, and ends with the weekend.
    return ",".join(WEEKDAYS[day][:3].upper() for day in sorted(set(days), key=lambda day: (day - 1) % 7))
