"""What other schedulers write in a cron expression and Debian's cron does not know, refused by name.

Who brings an expression from Quartz, Jenkins or Go learns whose it is and what to write here, instead of that a
character is wrong.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DAY, MONTH, WEEKDAY = "day of month", "month", "day of week"

_MONTHS = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
]
_WEEKDAYS = ["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"]


class _Foreign(NamedTuple):
    """A term of another dialect.

    Attributes:
        pattern: what such a term looks like, upper case.
        fields: names of the fields in which it is one; all if empty.
        answer: whose it is and what to write; `{term}` is the term.
    """

    pattern: re.Pattern[str]
    fields: frozenset[str]
    answer: str


def _foreign(pattern: str, answer: str, *fields: str) -> _Foreign:
    return _Foreign(re.compile(pattern), frozenset(fields), answer)


_FOREIGN = (
    _foreign(r".*\?.*", "`?` is Quartz's; write `*`"),
    _foreign(r".*~.*", "`~`, a random value, is cronie's and OpenBSD's; write a number, and spread the fires by a jitter"),
    _foreign(
        r"H(\(\d+-\d+\))?(/\d+)?",
        "`H` is Jenkins's; write a number or a step such as `*/15`, and spread the fires by a jitter",
    ),
    _foreign(r"\d+W", "`W`, the weekday nearest a day, is Quartz's; here there is `LW`, the last weekday of the month", DAY),
    _foreign(r"W", "`W` alone is Quartz's; write `LW` for the last weekday, or MON-FRI as day of week", DAY),
    _foreign(r"L-\d+W?", "`{term}`, days before the last, is Quartz's; here there are `L` and `LW`", DAY),
    _foreign(r"L", "`L` alone as day of week is Quartz's Saturday; write `SAT`, or `5L` for the last Friday", WEEKDAY),
    _foreign(r"[A-Z]{3}L", "a day's name with `L` is Quartz's; write its number, such as `5L` for the last Friday", WEEKDAY),
    _foreign(r"\d*C", "`C`, a calendar, is Quartz's; nothing here stands for it"),
    _foreign(r"(19|20)\d\d([-,/].*)?", "a year as the last field is Quartz's; cron has no years, a single time is `at`", WEEKDAY),
    _foreign("|".join(_MONTHS), "names have three letters: write `{short}`", MONTH),
    _foreign("|".join(_WEEKDAYS), "names have three letters: write `{short}`", WEEKDAY),
)  # fmt: skip

_MACROS = {
    "@reboot": "`@reboot` names no time; what is to be done at a start is the business of whoever starts",
    "@every": "`@every` is Go's; give `every`, or say it in English, such as `every 15 minutes`",
    "@weekdays": "`@weekdays` is not cron's; write `0 0 * * MON-FRI`",
    "@quarterly": "`@quarterly` is not cron's; write `0 0 1 1,4,7,10 *`",
}

SEVEN = "7 fields, with a year, are Quartz's; cron has no years: write 5, or 6 with seconds first"


def foreign_term(term: str, field: str) -> str | None:
    """Return whose a term is that Debian's cron doesn't know, and what to write; None if it is nobody's.

    Args:
        term: what stands between two commas of a field.
        field: the field's name.
    """
    upper = term.upper()
    for found in _FOREIGN:
        if (not found.fields or field in found.fields) and found.pattern.fullmatch(upper):
            return found.answer.format(term=term, short=upper[:3])
    return None


def foreign_macro(text: str) -> str | None:
    """Return whose a macro is that crontab(5) doesn't know, and what to write; None if it is nobody's."""
    return _MACROS.get(text.split(maxsplit=1)[0].lower())
