"""When something is to be done, as people write it: a cron expression or plain English; and said again as a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backbone import phrase
from backbone.clock import to_datetime
from backbone.cron import Cron
from backbone.errors import CronError
from backbone.phrase import Understood, sentence

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from schemas.records import Timer

_NAMES = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC|SUN|MON|TUE|WED|THU|FRI|SAT"
_CRON_FIELD = re.compile(rf"(?:[\d*?#/,~()LWHC-]|{_NAMES})+", re.IGNORECASE)
_FEWEST_FIELDS = 4
"""Fewer fields than cron has: who forgot one wants to know that, not that this is no English."""


def read(text: str, now: datetime, zone: ZoneInfo) -> Understood:
    """Return what was understood of a cron expression or a phrase in English.

    Args:
        text: such as `0 8 * * MON-FRI`, `@daily` or `every weekday at 8`.
        now: an aware time, from which `in 20 minutes` and `tomorrow` count.
        zone: whose wall clock is meant.

    Raises:
        CronError: it is a cron expression, and a wrong one.
        PhraseError: it is none, and not understood as English either.
    """
    if not _is_cron(text):
        return phrase.understand(text, now, zone)
    return Understood(sentence.of_cron(Cron(text)), cron=text.strip())


def tell(timer: Timer) -> str:
    """Return when a timer fires, as a sentence with its zone; of one that means nothing, what stands there."""
    if timer.at is not None:
        return f"{sentence.of_moment(to_datetime(timer.at))} (UTC)"
    if timer.every is not None:
        return sentence.of_every(timer.every)
    try:
        said = sentence.of_cron(Cron(timer.cron or ""))
    except CronError:
        said = timer.cron or "never"
    return f"{said} ({timer.tz or 'UTC'})"


def _is_cron(text: str) -> bool:
    """Whether whoever wrote this meant a cron expression, be it a wrong one."""
    if text.lstrip().startswith("@") or "*" in text or "?" in text:
        return True
    fields = text.split()
    numeric = bool(fields) and (fields[0][0].isdigit() or fields[0][0] in "Hh")
    return numeric and len(fields) >= _FEWEST_FIELDS and all(_CRON_FIELD.fullmatch(field) for field in fields)
