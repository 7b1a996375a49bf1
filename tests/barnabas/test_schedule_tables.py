"""What `schedule list` and `history` show a person: times in the schedule's zone, outcomes in words."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from barnabas.commands import schedules
from barnabas.replies import Fire, Schedule

AT = "2026-11-22T08:00:00Z"


def fire(**fields: object) -> Fire:
    return msgspec.convert({"slot": AT, "at": AT, **fields}, Fire, strict=False)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"outcome": "fired"}, "fired"),
        ({"outcome": "late", "late_by_ms": 61_500}, "late by 1m1s500ms"),
        ({"outcome": "skipped", "reason": "paused", "count": 12}, "skipped: paused \N{MULTIPLICATION SIGN}12"),
    ],
)
def test_outcomes_are_told_in_words(fields: dict[str, object], told: str) -> None:
    assert schedules.outcome(fire(**fields)) == told


def test_a_history_is_told_in_the_zone_of_its_schedule() -> None:
    row = schedules._fire(fire(outcome="fired", to=AT, task_id="t"), ZoneInfo("Asia/Tokyo"))
    assert row == ("Sun 2026-11-22 17:00:00 JST", "Sun 2026-11-22 17:00:00 JST", "fired", "t")


def test_a_list_tells_what_comes_what_was_and_what_is_paused() -> None:
    task = {"kind": "cron.parse", "tier": "realtime"}
    last = {"slot": AT, "at": AT, "outcome": "fired"}
    fields = {"id": "x", "task": task, "when": "every hour", "next": AT, "last": last, "enabled": False}
    row = schedules._row(msgspec.convert(fields, Schedule, strict=False))
    said = "Sun 2026-11-22 08:00:00 UTC"
    assert row == ("x", "cron.parse", "every hour", said, f"fired {said}", "paused")
    bare = msgspec.convert({"id": "x", "tz": "Mars/Base"}, Schedule)
    assert schedules._row(bare) == ("x", None, None, None, None, "")
