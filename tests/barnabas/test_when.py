from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.errors import UsageError
from barnabas.when import read_time

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("2h", timedelta(hours=2)),
        (" 3d ", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
    ],
)
def test_how_long_ago(text: str, ago: timedelta) -> None:
    assert read_time(text, now=NOW, field="since") == NOW - ago


@pytest.mark.parametrize("text", ["2026-11-22T12:00:00Z", "2026-11-22T13:00:00+01:00", "20261122T120000Z"])
def test_iso_8601(text: str) -> None:
    assert read_time(text, now=NOW, field="since") == NOW


def test_without_an_offset_it_is_local_time() -> None:
    local = NOW.astimezone().replace(tzinfo=None).isoformat()
    assert read_time(local, now=NOW, field="since") == NOW


@given(st.text(max_size=12) | st.from_regex(r"\d{1,12}[smhdwy]", fullmatch=True))
def test_any_text_is_a_time_or_refused_by_name(text: str) -> None:
    try:
        assert read_time(text, now=NOW, field="since").tzinfo is not None
    except UsageError as error:
        assert error.field == "since"
