from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
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
            "tz": {"expression": "every day at 8", "tz": "Mars/Base"},
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
        assert result.description == "Every weekday at 08:00 (Europe/Berlin)."
        assert handler.tier is Tier.REALTIME

    @pytest.mark.parametrize(
        ("expression", "understood", "fires", "said"),
        [
            (
                "on the last Friday of the month at noon",
                {"cron": "0 12 * * 5L"},
                ["2026-11-27T12:00:00+01:00", "2026-12-25T12:00:00+01:00"],
                "On the last Friday of every month at 12:00 (Europe/Berlin).",
            ),
            (
                "every 90 minutes",
                {"every": 5400.0},
                ["2026-11-04T14:30:00+01:00", "2026-11-04T16:00:00+01:00"],
                "Every 90 minutes (Europe/Berlin).",
            ),
            (
                "in 20 minutes",
                {"at": "2026-11-04T13:20:00+01:00"},
                ["2026-11-04T13:20:00+01:00"],
                "Once, on Wednesday 4 November 2026 at 13:20 (Europe/Berlin).",
            ),
        ],
    )
    async def test_english_is_read_too(self, handler, expression, understood, fires, said):
        payload = {"expression": expression, "tz": "Europe/Berlin", "count": 2}
        result = await handler.run(read(handler, payload), context())
        told = result.model_dump(mode="json", exclude_none=True)
        assert {name: told[name] for name in ("cron", "every", "at") if name in told} == understood
        assert [fire.isoformat() for fire in result.fires] == fires
        assert result.description == said

    async def test_english_that_is_not_understood_is_refused(self, handler):
        with pytest.raises(PayloadError, match="`gelegentlich`") as caught:
            await handler.run(read(handler, {"expression": "gelegentlich um 8"}), context())
        assert caught.value.field == "expression"

    @pytest.mark.parametrize("expression", ["every 3660 days", "in 1 day"])
    async def test_english_at_the_calendar_s_end_is_refused(self, handler, expression):
        payload = {"expression": expression, "after": "9999-12-31T23:00:00Z", "count": 1000}
        with pytest.raises(PayloadError, match="calendar's end"):
            await handler.run(read(handler, payload), context())

    async def test_an_interval_s_fires_end_with_a_century(self, handler):
        result = await handler.run(read(handler, {"expression": "every 3650 days", "count": 1000}), context())
        assert len(result.fires) == 10

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


@pytest.mark.parametrize(
    ("expression", "after", "found"),
    [
        # Made while the clock shows half past two for the second time: the first one is past.
        ("30 2 * * *", "2026-10-25T01:10:00+00:00", ["2026-10-26T02:30:00+01:00"]),
        ("30 2 * * *", "2026-10-25T00:10:00+00:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        # Three times that are one moment.
        ("0,30 2-3 * * *", "2026-03-29T00:30:00+00:00", ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]),
        ("*/30 2 * * *", "2026-03-29T00:30:00+00:00", ["2026-03-30T02:00:00+02:00"]),
        ("30 */2 * * *", "2026-03-29T00:30:00+00:00", ["2026-03-29T04:30:00+02:00"]),
        # With seconds it is no expression of Debian's, and has no rule of its.
        ("0 30 2 * * *", "2026-03-28T12:00:00+00:00", ["2026-03-30T02:30:00+02:00"]),
        ("0 30 2 * * *", "2026-10-24T12:00:00+00:00", ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]),
    ],
)
def test_each_moment_comes_once_where_the_clock_is_put_on_or_back(expression, after, found):
    assert fires(expression, datetime.fromisoformat(after), len(found)) == found


@given(
    st.sampled_from(["30 2 * * *", "0,30 2-3 * * *", "*/20 * * * *", "15 */2 * * *", "0 0 2 * * *", "59 1 * * *"]),
    st.sampled_from(["2026-03-28T22:00:00+00:00", "2026-10-24T22:00:00+00:00"]),
    st.integers(0, 6 * 3600),
    st.sampled_from(["Europe/Berlin", "Europe/London", "Australia/Lord_Howe"]),
)
def test_fires_rise_from_any_moment_of_a_night_in_which_the_clock_is_put_on_or_back(expression, begin, seconds, zone):
    after = datetime.fromisoformat(begin) + timedelta(seconds=seconds)
    found = list(islice(Cron(expression).fires(after, ZoneInfo(zone)), 12))
    moments = [after, *(fire.astimezone(UTC) for fire in found)]
    assert all(one < next_one for one, next_one in pairwise(moments))
    assert next(Cron(expression).fires(found[3], ZoneInfo(zone))) == found[4]


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
    ("expression", "whose"),
    [
        ("0 0 ? * *", "Quartz's; write `*`"),
        ("0 0 */2? * *", "Quartz"),
        ("0 0 15W * *", "`LW`"),
        ("0 0 W * *", "`LW`"),
        ("0 0 L-3 * *", "`L-3`"),
        ("0 0 LW-1 * *", "expected"),
        ("0 0 * * L", "5L"),
        ("0 0 * * FRIL", "5L"),
        ("0 0 5C * *", "Quartz"),
        ("0 0 0 1 1 * 2027", "cron has no years"),
        ("0 0 0 1 1 ? 2027", "cron has no years"),
        ("0 0 1 1 * 2027", "cron has no years"),
        ("H * * * *", "Jenkins"),
        ("H/15 * * * *", "Jenkins"),
        ("H(0-29)/10 * * * *", "Jenkins"),
        ("0~30 * * * *", "cronie"),
        ("0 0 * * MONDAY", "`MON`"),
        ("0 0 * SEPTEMBER *", "`SEP`"),
        ("@reboot", "names no time"),
        ("@every 5m", "Go's"),
        ("@quarterly", "1,4,7,10"),
    ],
)
def test_what_other_schedulers_write_is_refused_by_name(expression, whose):
    with pytest.raises(CronError) as caught:
        Cron(expression)
    assert whose in caught.value.message
    assert caught.value.field == "expression"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 0 21 * *", "At 00:00 on the 21st day of every month"),
        ("0 0 22 * *", "At 00:00 on the 22nd day of every month"),
        ("0 0 31 * *", "At 00:00 on the 31st day of every month"),
        ("0 0 11 * *", "At 00:00 on the 11th day of every month"),
        ("0 0 13 * FRI", "At 00:00 on the 13th day of month, or on Friday"),
        ("0 0 */13 * FRI", "At 00:00 on every 13th day of month if it's on Friday"),
    ],
)
def test_the_sentence_is_english(expression, says):
    assert Cron(expression).description == says


def test_a_range_of_one_with_a_step_is_that_one():
    assert fires("5-5/10 9-9 * * mon-mon", NOW, 2) == ["2026-11-09T09:05:00+01:00", "2026-11-16T09:05:00+01:00"]


def _set(low, high):
    """Fields that are numbers, ranges with and without steps, and lists of them, with the values that they mean."""
    number = st.integers(low, high)
    span = st.tuples(number, number, st.integers(1, 9)).map(lambda row: (*sorted(row[:2]), row[2]))
    terms = st.one_of(
        number.map(lambda n: (str(n), {n})),
        span.map(lambda row: (f"{row[0]}-{row[1]}/{row[2]}", set(range(row[0], row[1] + 1, row[2])))),
        span.map(lambda row: (f"{row[0]}-{row[1]}", set(range(row[0], row[1] + 1)))),
        st.integers(1, 9).map(lambda step: (f"*/{step}", set(range(low, high + 1, step)))),
        st.just(("*", set(range(low, high + 1)))),
    )
    return st.lists(terms, min_size=1, max_size=3).map(
        lambda rows: (",".join(text for text, _ in rows), set().union(*(values for _, values in rows)))
    )


@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        ("Europe/Berlin", "2026-03-28T16:00:00+00:00"),
        ("Europe/Berlin", "2026-10-24T16:00:00+00:00"),
        ("Australia/Lord_Howe", "2026-10-03T06:00:00+00:00"),  # by half an hour
        ("Australia/Lord_Howe", "2026-04-04T06:00:00+00:00"),
        ("America/Havana", "2026-11-01T00:00:00+00:00"),  # over midnight
        ("America/St_Johns", "2006-10-28T18:00:00+00:00"),  # at one minute past midnight
        ("Antarctica/Troll", "2026-10-24T16:00:00+00:00"),  # by two hours
        ("Pacific/Apia", "2011-12-29T16:00:00+00:00"),  # by a day
    ],
)
@given(st.data())
@pytest.mark.slow
def test_where_the_clock_is_put_on_or_back_it_means_what_debian_s_cron_does(zone, begin, data):
    """Held against a cron that wakes up each minute: fixed times follow a clock that never goes back, stars the real one."""
    minute = data.draw(st.sampled_from([("45", {45}), ("*", set(range(60)))]) | _set(0, 59))
    hour = data.draw(st.sampled_from([("1-2", {1, 2}), ("*", set(range(24)))]) | _set(0, 23))
    wildcard = minute[0].startswith("*") or hour[0].startswith("*")
    start = datetime.fromisoformat(begin)
    expected, reached = [], start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for moment in (start + timedelta(minutes=past) for past in range(1, 36 * 60 + 1)):
        shows = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        passed = max(0, (shows - reached) // timedelta(minutes=1))
        reached = max(reached, shows)
        times = [shows] if wildcard else [shows - timedelta(minutes=back) for back in range(passed)]
        if any(time.minute in minute[1] and time.hour in hour[1] for time in times):
            expected.append(moment)
    found = Cron(f"{minute[0]} {hour[0]} * * *").fires(start, ZoneInfo(zone))
    assert [fire.astimezone(UTC) for fire in takewhile(lambda fire: fire.astimezone(UTC) <= moment, found)] == expected


@given(_set(0, 59), _set(0, 23), _set(1, 31), _set(1, 12), _set(0, 7), st.integers(0, 4 * 366))
def test_fires_are_those_that_the_fields_say_by_debian_s_rule(minute, hour, day, month, weekday, begin):
    """Each day of a year is held against the fields by themselves: an oracle that shares nothing with the library."""
    expression = " ".join(field[0] for field in (minute, hour, day, month, weekday))
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=begin)
    either = not (day[0].startswith("*") or weekday[0].startswith("*"))

    def fits(moment):
        by_day = moment.day in day[1]
        by_weekday = moment.isoweekday() % 7 in {number % 7 for number in weekday[1]}
        return moment.month in month[1] and ((by_day or by_weekday) if either else (by_day and by_weekday))

    days = [start + timedelta(days=offset) for offset in range(366)]
    expected = (
        moment
        for one in days
        if fits(one)
        for at in sorted(hour[1])
        for past in sorted(minute[1])
        if (moment := one.replace(hour=at, minute=past)) > start
    )
    try:
        cron = Cron(expression)
    except CronError as error:
        assert "occurs in month" in error.message
        assert next(expected, None) is None
        return
    found = takewhile(lambda fire: fire < days[-1] + timedelta(days=1), cron.fires(start, ZoneInfo("UTC")))
    assert list(islice(found, 50)) == list(islice(expected, 50))


@given(
    _set(0, 59),
    _set(0, 23),
    _set(1, 31),
    _set(1, 12),
    _set(0, 7),
    st.sampled_from(["Europe/Berlin", "America/New_York"]),
)
def test_it_means_what_the_library_means_in_any_case_and_spacing(minute, hour, day, month, weekday, zone):
    texts = [field[0] for field in (minute, hour, day, month, weekday)]
    start = datetime(2026, 10, 24, 12, tzinfo=ZoneInfo(zone))
    try:
        cron = Cron("  ".join(texts).lower() + " ")
    except CronError:
        return
    end = start + timedelta(days=3)
    library = sorted(
        {fire.astimezone(UTC) for fire in takewhile(lambda fire: fire <= end, CronSim(cron.fields, start))}
    )
    ours = takewhile(lambda fire: fire <= end, cron.fires(start, ZoneInfo(zone)))
    assert [fire.astimezone(UTC) for fire in islice(ours, 20)] == library[:20]


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
