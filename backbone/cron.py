"""What a cron expression means: its fires, a sentence for people, and what exactly is wrong with a bad one.

The meaning is Debian cron's: five fields (or six, with seconds first), names, ranges, lists, steps, `L` and `#` as the
library cronsim reads them, daylight saving by `backbone.wall`. The macros are crontab(5)'s. What other schedulers write is
refused by name (`backbone.cron_dialects`).
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from backbone import wall
from backbone.cron_dialects import SEVEN, foreign_macro, foreign_term
from backbone.errors import CronError

if TYPE_CHECKING:
    from collections.abc import Iterator

HORIZON = timedelta(days=36525)
"""How far ahead fires are looked for: a century, so that no expression costs more than some milliseconds a fire."""

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(NamedTuple):
    name: str
    expected: str


_FIELDS = (
    _Field("second", "0-59"),
    _Field("minute", "0-59"),
    _Field("hour", "0-23"),
    _Field("day of month", "1-31, L (the last) or LW (the last weekday)"),
    _Field("month", "1-12 or JAN-DEC"),
    _Field("day of week", "0-7 or SUN-SAT (0 and 7 are Sunday), 5L (the last Friday) or MON#2 (the second Monday)"),
)
_SINGLE_RANGE = re.compile(r"\b(\w+)-\1(?:/[1-9]\d*)?(?=,|$)")
"""A range of one value: with a step the library would take it for the beginning of an open one, which Debian doesn't."""

_ORDINAL = re.compile(r"\b(\d+)th\b")
_ANY_MOMENT = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock's time, only to try whether a field can be read


class Cron:
    """A cron expression that was read.

    Args:
        expression: five or six fields, or a macro such as `@daily`.

    Raises:
        CronError: it can't be read; the message names the wrong field, what was found and what is expected.
    """

    def __init__(self, expression: str) -> None:
        self._fields = _read(expression)

    @property
    def description(self) -> str:
        """The expression as an English sentence, without its time zone."""
        said = _ORDINAL.sub(_ordinal, CronSim(self._fields, _ANY_MOMENT).explain())
        # Of two days that are both restricted either one will do (Debian), for which the library says "and".
        return said.replace(" and on ", ", or on ")

    @property
    def fields(self) -> str:
        """The expression as its five or six fields in upper case, a macro resolved."""
        return self._fields

    def fires(self, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """Yield each fire later than `after`, in `zone`, up to `HORIZON` ahead.

        Args:
            after: an aware time.
            zone: whose wall clock the fields mean; of five fixed ones a fire in a skipped hour comes right after it, and
                one in a repeated hour once, while stars and seconds follow the clock.
        """
        try:
            begin = wall.time_before(after, zone)
            end = after.astimezone(UTC) + HORIZON
        except OverflowError:
            raise CronError(f"{after.isoformat()} is too near the calendar's end", field="after") from None
        # The library is asked for naive times only: where a clock is put back by less than an hour, or not at a full hour,
        # it leaves fires out in a zone, or never comes back.
        times = CronSim(self._fields, begin)
        moments = wall.shown(times, zone) if self._follows_the_clock() else wall.once(times, zone)
        return self._between(after, end, moments)

    def _follows_the_clock(self) -> bool:
        """Whether it means what a clock shows, rather than a time of day: Debian's wildcard jobs, and all with seconds."""
        fields = self._fields.split()
        return len(fields) == 6 or fields[0].startswith("*") or fields[1].startswith("*")

    @staticmethod
    def _between(after: datetime, end: datetime, fires: Iterator[datetime]) -> Iterator[datetime]:
        """Yield each of these moments that is later than `after`, up to `end`, once."""
        # Two times of one zone are compared by what its clock shows, which is not their order where it is put back.
        last = after.astimezone(UTC)
        for fire in fires:
            moment = fire.astimezone(UTC)
            if moment > end:
                return
            if moment > last:
                last = moment
                yield fire


@lru_cache(maxsize=4096)
def _read(expression: str) -> str:
    """Return the expression's fields, macros resolved, when every one of them can be read."""
    text = expression.strip()
    if text.startswith("@"):
        fields = _MACROS.get(text.lower())
        if fields is None:
            whose = foreign_macro(text)
            raise _wrong(f"macro: found {text!r}, {f'{whose}; ' if whose else ''}expected one of {', '.join(_MACROS)}")
        return fields
    found = [_SINGLE_RANGE.sub(r"\1", field) for field in text.upper().split()]
    if len(found) == 7:
        raise _wrong(SEVEN)
    if len(found) not in {5, 6}:
        raise _wrong(
            f"found {len(found)} field{'' if len(found) == 1 else 's'}, expected 5: "
            "minute, hour, day of month, month, day of week (or 6 with seconds first)"
        )
    names = _FIELDS[-len(found) :]
    for place, (field, value) in enumerate(zip(names, found, strict=True)):
        for term in value.split(","):
            if not _readable(term, place, len(found)):
                inside = f" in {value!r}" if term != value else ""
                whose = foreign_term(term, field.name)
                raise _wrong(
                    f"{field.name} (field {place + 1} of {len(found)}): found {term!r}{inside}, "
                    f"{f'{whose}; ' if whose else ''}expected * or {field.expected}, a rising range a-b, a step such as "
                    "*/2, or a list of these"
                )
    fields = " ".join(found)
    try:
        CronSim(fields, _ANY_MOMENT)
    except CronSimError:
        day, month = found[-3], found[-2]
        raise _wrong(f"day of month: found {day!r}, expected a day that occurs in month {month!r}") from None
    return fields


def _readable(term: str, place: int, count: int) -> bool:
    """Whether one term of a field can be read, all other fields left open."""
    alone = ["*"] * count
    alone[place] = term
    try:
        CronSim(" ".join(alone), _ANY_MOMENT)
    except CronSimError:
        # Alone, 30 and 31 fail nowhere; what fails is the term itself.
        return False
    return True


def _ordinal(found: re.Match[str]) -> str:
    """Return 21st for the library's 21th."""
    number = int(found[1])
    return f"{number}{ordinal_suffix(number)}"


def ordinal_suffix(number: int) -> str:
    """Return the letters of an ordinal: st, nd, rd or th."""
    return "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _wrong(message: str) -> CronError:
    return CronError(message, field="expression")


@cache
def _zones() -> frozenset[str]:
    """The names of all zones; finding them walks a folder."""
    return frozenset(available_timezones())


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone of that name.

    Raises:
        CronError: there is none; the message offers the nearest names.
    """
    known = _zones()
    if name in known:
        return ZoneInfo(name)
    by_lower = {zone.lower(): zone for zone in sorted(known)}
    by_city = {zone.rpartition("/")[2]: by_lower[zone] for zone in by_lower}
    asked = name.strip().lower().replace(" ", "_")
    near = [by_lower[key] for key in difflib.get_close_matches(asked, by_lower, n=2, cutoff=0.7)]
    near += [by_city[key] for key in difflib.get_close_matches(asked.rpartition("/")[2], by_city, n=2, cutoff=0.8)]
    offer = " or ".join(dict.fromkeys(near)) or "a name such as Europe/Berlin"
    raise CronError(f"found {name!r}, expected a zone of the IANA time zone database: {offer}?", field="tz")
