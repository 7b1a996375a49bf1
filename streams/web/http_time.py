"""Times as HTTP writes them (RFC 9110, sections 5.6.7 and 10.2.3)."""

from __future__ import annotations

from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def seconds(text: str | None) -> int | None:
    """Return a header's number of seconds, or None where it is no number; what nobody lives to see is cut."""
    text = (text or "").strip()
    return min(int(text[:12]), 2**31) if text.isascii() and text.isdecimal() else None


def http_date(text: str | None) -> float | None:
    """Return a date in any of the three forms of HTTP in seconds since the epoch, or None where it is none."""
    parsed = parsedate_tz(text or "")
    if parsed is None:
        return None
    try:
        return float(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait, or None where it asks nothing that can be read.

    Args:
        headers: of an answer, by names in small letters.
        now: seconds since the epoch, for a date; its own clock, as `Date` tells it, is believed before that.
    """
    header = headers.get("retry-after")
    wait = seconds(header)
    if wait is not None:
        return float(wait)
    date = http_date(header)
    if date is None:
        return None
    said = http_date(headers.get("date"))
    return max(0.0, date - (now if said is None else said))
