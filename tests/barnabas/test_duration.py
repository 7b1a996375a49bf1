from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.duration import read_duration, told
from barnabas.errors import UsageError


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("90s", timedelta(seconds=90)),
        ("1.5h", timedelta(minutes=90)),
        ("2D", timedelta(days=2)),
        (" 1w ", timedelta(weeks=1)),
        ("500ms", timedelta(milliseconds=500)),
        ("0s", timedelta()),
    ],
)
def test_durations_are_read(text: str, duration: timedelta) -> None:
    assert read_duration(text, field="every") == duration


@pytest.mark.parametrize("text", ["", "15", "m", "15 minutes", "1h 30m", "-5m", "1h1h", "5x", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="1h30m") as caught:
        read_duration(text, field="every")
    assert caught.value.field == "every"


@pytest.mark.parametrize("text", ["999999999w", "999999999d999999999h"])
def test_what_no_calendar_holds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="longer than the calendar"):
        read_duration(text, field="every")


@given(st.integers(0, 10**12))
def test_what_is_told_is_read_again(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert read_duration(told(duration), field="every") == duration
