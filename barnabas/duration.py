"""Durations as they are typed: `90s`, `15m`, `1h30m`, `2d`, `1w`, `500ms`."""

from __future__ import annotations

import re
from datetime import timedelta

from barnabas.errors import UsageError

_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|w)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_duration(text: str, *, field: str) -> timedelta:
    """Return the duration that was typed.

    Args:
        text: numbers with their units, the longest first or in any order, without spaces.
        field: what it was typed for.

    Raises:
        UsageError: it is none.
    """
    plain = text.strip().lower()
    parts = _PART.findall(plain)
    units = [unit for _, unit in parts]
    if not parts or "".join(number + unit for number, unit in parts) != plain or len(set(units)) < len(units):
        raise UsageError(f"{text!r} is no duration; write it as 90s, 15m, 1h30m or 2d", field=field)
    try:
        return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise UsageError(f"{text!r} is longer than the calendar", field=field) from None


def told(duration: timedelta) -> str:
    """Return a duration as `read_duration` reads it: `1h30m`."""
    left = round(duration.total_seconds() * 1000)
    said = ""
    for unit, size in (("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            said += f"{count}{unit}"
    return said or "0s"
