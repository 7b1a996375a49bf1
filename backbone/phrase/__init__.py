"""Schedules in plain English: a text, now and a zone to what was understood, or the word that was not.

    every weekday at 8 · on the last Friday of the month at noon · in 20 minutes · tomorrow at 9

The grammar is small and strict: what it doesn't know, and what could mean two things, is refused by name with what to say
instead. What it says of a schedule it understands again (`sentence`). `docs/schedules.md` lists all that it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.cron import Cron
from backbone.errors import CronError
from backbone.phrase import sentence
from backbone.phrase.grammar import read
from backbone.phrase.meaning import cron_of, interval_of, moment_of
from backbone.phrase.words import refused

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

MOST_SECONDS = 3660 * 86_400
"""The longest interval, in seconds."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What a text means: exactly one of `cron`, `every` and `at`.

    Attributes:
        sentence: what was understood, in English; it is itself understood to the same.
        cron: five fields, to be read in the zone.
        every: milliseconds from one to the next.
        at: a single moment, aware.
    """

    sentence: str
    cron: str | None = None
    every: int | None = None
    at: datetime | None = None


def understand(text: str, now: datetime, zone: ZoneInfo) -> Understood:
    """Return what a schedule in plain English means.

    Args:
        text: such as `every weekday at 8`.
        now: an aware time, from which `in 20 minutes` and `tomorrow` count.
        zone: whose wall clock is meant.

    Raises:
        PhraseError: it is not understood, or could mean two things; the message names the word and what to say instead.
    """
    said = read(text)
    interval = interval_of(said)
    if interval is not None:
        if interval > MOST_SECONDS:
            raise refused("that is longer than ten years")
        return Understood(sentence.of_every(interval * 1000), every=interval * 1000)
    fields = cron_of(said)
    if fields is None:
        try:
            moment = moment_of(said, now, zone)
        except OverflowError:
            raise refused("that is before the calendar's beginning or beyond the calendar's end") from None
        return Understood(sentence.of_moment(moment), at=moment)
    try:
        cron = Cron(fields)
    except CronError:
        raise refused(f"it never comes: no month named there has such a day ({fields})") from None
    return Understood(sentence.of_cron(cron), cron=fields)
