"""Times as they are typed: ISO 8601, or how long ago, as `90s`, `30m`, `2h`, `3d` or `1w`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from barnabas.errors import UsageError

_AGO = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_time(text: str, *, now: datetime, field: str) -> datetime:
    """Return the aware time that was typed; without an offset it is this machine's local time.

    Args:
        text: what was typed.
        now: from which a time ago is counted.
        field: what it was typed for.

    Raises:
        UsageError: it is no time.
    """
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time; write 2026-11-22T08:00:00Z, or how long ago: 90s, 30m, 2h, 3d or 1w", field=field
        ) from None
