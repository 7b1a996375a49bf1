from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.cron import HORIZON, Cron, read_zone
from backbone.errors import CronError
from schemas.tiers import Tier
from streams.errors import PayloadError
from streams.handlers.cron import CronParse
from tests.contracts.handler import NOW, HandlerContract, context, read

BERLIN = ZoneInfo("Europe/Berlin")


class TestCronParse(HandlerContract):
    handler_class = CronParse

    @pytest.fixture
    def bad(self):
        return {
            "expression": {"expression": "0 25 * * *"},
            "tz": {"expression": "@daily", "tz": "Europe/Berln"},
            "count": {"expression": "@daily", "count": 0},
            "after": {"expression": "@daily", "after": "2026-01-01T00:00:00"},
        }

    @pytest.fixture
    def example(self):
        return {"expression": "0 8 * * MON-FRI", "tz": "Europe/Berlin", "count": 3}

    async def test_fires_from_now_in_the_zone(self, handler, example):
        result = await handler.run(read(handler, example), context())
        assert [fire.isoformat() for fire in result.fires] == [
            "2026-11-05T08:00:00+01:00",
            "2026-11-06T08:00:00+01:00",
            "2026-11-09T08:00:00+01:00",
        ]
        assert result.description == "At 08:00 on Monday through Friday (Europe/Berlin)."
        assert handler.tier is Tier.REALTIME

    async def test_after_comes_before_now(self, handler):
        payload = {"expression": "@daily", "after": "2030-01-01T12:00:00+01:00", "count": 1}
        result = await handler.run(read(handler, payload), context())
        assert [fire.isoformat() for fire in result.fires] == ["2030-01-02T00:00:00+00:00"]

    async def test_what_never_fires_is_refused(self, handler):
        with pytest.raises(PayloadError, match="never fires") as caught:
            await handler.run(read(handler, {"expression": "0 0 */31 * MON#2"}), context())
        assert caught.value.field == "expression"

    async def test_a_time_at_the_calendar_s_end_is_refused(self, handler):
        with pytest.raises(PayloadError, match="calendar's end") as caught:
            await handler.run(read(handler, {"expression": "@daily", "after": "9999-12-01T00:00:00Z"}), context())
        assert caught.value.field == "after"


def fires(expression: str, after: datetime, count: int = 3, zone: ZoneInfo = BERLIN) -> list[str]:
    return [fire.isoformat() for fire in islice(Cron(expression).fires(after, zone), count)]


def test_a_time_that_the_clock_skips_fires_right_after():
    before = datetime(2026, 3, 28, 12, tzinfo=BERLIN)
    assert fires("30 2 * * *", before, 2) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


def test_a_time_that_the_clock_repeats_fires_once():
    before = datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    assert fires("30 2 * * *", before, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_a_wildcard_fires_in_both_of_the_repeated_hours():
    before = datetime(2026, 10, 25, 0, 45, tzinfo=BERLIN)
    assert fires("30 * * * *", before, 4) == [
        "2026-10-25T01:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:30:00+01:00",
    ]


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 0 13 * FRI", "2026-11-06T00:00:00+01:00"),  # either of two restricted days (Debian)
        ("0 0 */13 * FRI", "2026-11-27T00:00:00+01:00"),  # both, where one begins with a star (Debian)
        ("0 12 L * *", "2026-11-30T12:00:00+01:00"),
        ("0 12 LW * *", "2026-11-30T12:00:00+01:00"),
        ("0 12 * * 5L", "2026-11-27T12:00:00+01:00"),
        ("0 12 * * MON#2", "2026-11-09T12:00:00+01:00"),
        ("0 12 * * 7", "2026-11-08T12:00:00+01:00"),
        ("15 30 13 * * *", "2026-11-04T13:30:15+01:00"),
        ("@hourly", "2026-11-04T14:00:00+01:00"),
        ("@WEEKLY", "2026-11-08T00:00:00+01:00"),
    ],
)
def test_meaning(expression, first):
    assert fires(expression, NOW, 1) == [first]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 25 * * *", ["hour (field 2 of 5)", "found '25'", "0-23"]),
        ("60 * * * *", ["minute (field 1 of 5)", "found '60'", "0-59"]),
        ("0 9 0 * *", ["day of month (field 3 of 5)", "found '0'", "1-31"]),
        ("0 9 * FEBRUARY *", ["month (field 4 of 5)", "found 'FEBRUARY'", "JAN-DEC"]),
        ("0 9 * * 1,8,MON", ["day of week (field 5 of 5)", "found '8' in '1,8,MON'", "SUN-SAT"]),
        ("0 17-9 * * *", ["hour", "'17-9'", "rising range"]),
        ("*/0 * * * *", ["minute", "'*/0'", "*/2"]),
        ("0 9 * *", ["found 4 fields", "expected 5"]),
        ("99 0 9 * * *", ["second (field 1 of 6)", "found '99'"]),
        ("@reboot", ["macro", "'@reboot'", "@daily"]),
        ("0 0 31 2 *", ["day of month", "'31'", "month '2'"]),
        ("every monday", ["found 2 fields"]),
        ("0 9 * * ²L", ["day of week", "²L"]),
    ],
)
def test_a_bad_expression_names_the_field_what_was_found_and_what_is_expected(expression, says):
    with pytest.raises(CronError) as caught:
        Cron(expression)
    assert caught.value.field == "expression"
    for part in says:
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("../../etc/passwd", "such as Europe/Berlin"),
        ("", "such as Europe/Berlin"),
    ],
)
def test_an_unknown_zone_is_offered_the_nearest(name, offer):
    with pytest.raises(CronError) as caught:
        read_zone(name)
    assert caught.value.field == "tz"
    assert repr(name) in caught.value.message
    assert offer in caught.value.message


atoms = st.one_of(
    st.integers(0, 99).map(str),
    st.sampled_from(
        ["*", "L", "LW", "MON", "SUN", "JAN", "DEC", "5L", "MON#2", "*/2", "1-5", "3-1", "1-30/7", "#", "/"]
    ),
    st.text("0123456789*/-,#LW?", min_size=1, max_size=6),
)
terms = st.lists(atoms, min_size=1, max_size=3).map(",".join)


@given(st.lists(terms, min_size=4, max_size=7).map(" ".join) | st.text())
def test_any_text_is_a_meaning_or_an_error_that_names_the_expression(expression):
    try:
        cron = Cron(expression)
    except CronError as error:
        outcome = error.field
    else:
        outcome = cron.description
        assert next(iter(cron.fires(NOW, BERLIN)), NOW) >= NOW
    assert outcome


@given(st.integers(0, 100 * 366 * 24 * 60), st.sampled_from(["30 2 * * *", "*/7 * 1,31 * *"]))
def test_fires_rise_and_each_follows_from_the_one_before(minutes, expression):
    cron = Cron(expression)
    after = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    first, second, third = islice(cron.fires(after, BERLIN), 3)
    assert after < first < second < third
    assert next(iter(cron.fires(first, BERLIN))) == second


def test_rare_fires_end_with_the_horizon():
    found = list(Cron("0 0 * 2 MON#5").fires(NOW, ZoneInfo("UTC")))
    assert 0 < len(found) <= 4
    assert found[-1] - NOW <= HORIZON
    assert found[1] - found[0] > timedelta(days=3650)
