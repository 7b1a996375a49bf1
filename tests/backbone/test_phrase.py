"""Schedules in plain English: what is understood, what is refused, and that what is said of it is understood again."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone import when
from backbone.cron import Cron
from backbone.errors import CronError, PhraseError
from backbone.phrase import Understood, sentence, understand
from schemas.records import Task, Template, Timer

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 4, 12, 0, tzinfo=UTC)  # a Wednesday, 13:00 in Berlin

CRONS = [
    ("every weekday at 8", "0 8 * * MON-FRI", "every weekday at 08:00"),
    ("on the last Friday of the month at noon", "0 12 * * 5L", "on the last Friday of every month at 12:00"),
    ("every day at 7:30 pm", "30 19 * * *", "every day at 19:30"),
    ("on Mondays and Thursdays at 18:00", "0 18 * * MON,THU", "every Monday and Thursday at 18:00"),
    ("every second Tuesday of the month at 10", "0 10 * * TUE#2", "on the second Tuesday of every month at 10:00"),
    ("on the 1st and 15th at midnight", "0 0 1,15 * *", "on the 1st and 15th of every month at 00:00"),
    (
        "every 2 hours between 9 and 17 on weekdays",
        "0 9-17/2 * * MON-FRI",
        "every 2 hours between 09:00 and 17:00 on weekdays",
    ),
    ("Every Monday to Friday at 9 a.m.", "0 9 * * MON-FRI", "every weekday at 09:00"),
    ("daily at 6:45", "45 6 * * *", "every day at 06:45"),
    ("weekly on Monday at 9", "0 9 * * MON", "every Monday at 09:00"),
    ("monthly on the 15th at 9", "0 9 15 * *", "on the 15th of every month at 09:00"),
    ("yearly on 24 December at noon", "0 12 24 12 *", "every year on the 24th of December at 12:00"),
    ("every year on December 24th at noon", "0 12 24 12 *", "every year on the 24th of December at 12:00"),
    ("every 24 December at noon", "0 12 24 12 *", "every year on the 24th of December at 12:00"),
    ("every day in December at 9", "0 9 * 12 *", "every day in December at 09:00"),
    ("every weekday at 8, 12 and 16", "0 8,12,16 * * MON-FRI", "every weekday at 08:00, 12:00 and 16:00"),
    ("at 9am and 5pm every day", "0 9,17 * * *", "every day at 09:00 and 17:00"),
    ("every day at 9 am, noon and 13:00", "0 9,12,13 * * *", "every day at 09:00, 12:00 and 13:00"),
    ("every third day of the month at 9", "0 9 3 * *", "on the 3rd of every month at 09:00"),
    ("on weekends at 10", "0 10 * * SAT,SUN", "every Saturday and Sunday at 10:00"),
    ("every Saturday and Sunday at 10:30", "30 10 * * SAT,SUN", "every Saturday and Sunday at 10:30"),
    ("every Sun at 23:59", "59 23 * * SUN", "every Sunday at 23:59"),
    ("on the last day of the month at 18:00", "0 18 L * *", "on the last day of every month at 18:00"),
    ("on the last weekday of every month at 5 pm", "0 17 LW * *", "on the last weekday of every month at 17:00"),
    ("on the first Monday of each month at 9", "0 9 * * MON#1", "on the first Monday of every month at 09:00"),
    (
        "on the first and third Monday of the month at 9",
        "0 9 * * MON#1,MON#3",
        "on the first and third Monday of every month at 09:00",
    ),
    (
        "on the first and last Friday of every month at 12:30",
        "30 12 * * FRI#1,5L",
        "on the first and last Friday of every month at 12:30",
    ),
    (
        "every year on the first Monday of January at 9",
        "0 9 * 1 MON#1",
        "every year on the first Monday of January at 09:00",
    ),
    (
        "every year on the 1st of January, April, July and October at 9",
        "0 9 1 1,4,7,10 *",
        "every year on the 1st of January, April, July and October at 09:00",
    ),
    ("every hour at :15", "15 * * * *", "every hour at :15"),
    ("every hour at :00 and :30", "0,30 * * * *", "every hour at :00 and :30"),
    ("every hour on the hour", "0 * * * *", "every hour at :00"),
    ("every hour at minute 5", "5 * * * *", "every hour at :05"),
    ("at 20 minutes past every hour", "20 * * * *", "every hour at :20"),
    ("at 5 past the hour on weekdays", "5 * * * MON-FRI", "every hour at :05 on weekdays"),
    ("every 15 minutes on weekdays", "*/15 * * * MON-FRI", "every 15 minutes on weekdays"),
    (
        "every 15 minutes between 9:00 and 16:45 on weekdays",
        "*/15 9-16 * * MON-FRI",
        "every 15 minutes between 09:00 and 16:45 on weekdays",
    ),
    (
        "every 30 minutes from 8:00 to 17:30 on Mondays",
        "*/30 8-17 * * MON",
        "every 30 minutes between 08:00 and 17:30 on Mondays",
    ),
    ("every hour from 9 to 17", "0 9-17 * * *", "every hour between 09:00 and 17:00"),
    (
        "every hour between 9:30 and 17:30 on Monday to Friday",
        "30 9-17 * * MON-FRI",
        "every hour between 09:30 and 17:30 on weekdays",
    ),
    ("every 4 hours on weekends", "0 */4 * * SAT,SUN", "every 4 hours on Saturdays and Sundays"),
    ("every 5 minutes in December", "*/5 * * 12 *", "every 5 minutes in December"),
    ("Mondays at 9", "0 9 * * MON", "every Monday at 09:00"),
    ("every Mon, Wed and Fri at 9:15", "15 9 * * MON,WED,FRI", "every Monday, Wednesday and Friday at 09:15"),
    ("at 8 in the morning every day", "0 8 * * *", "every day at 08:00"),
    ("every day at 8 in the evening", "0 20 * * *", "every day at 20:00"),
    ("every 15th at 9", "0 9 15 * *", "on the 15th of every month at 09:00"),
    ("every last day of the month at 20:00", "0 20 L * *", "on the last day of every month at 20:00"),
    ("on the 31st of every month at 12:00", "0 12 31 * *", "on the 31st of every month at 12:00"),
    ("each Tuesday at 14:00", "0 14 * * TUE", "every Tuesday at 14:00"),
    ("every Monday in June at 7", "0 7 * 6 MON", "every Monday in June at 07:00"),
    (
        "every weekday from June to August at 7",
        "0 7 * 6,7,8 MON-FRI",
        "every weekday in June, July and August at 07:00",
    ),
    ("Mon-Fri at 7", "0 7 * * MON-FRI", "every weekday at 07:00"),
    ("noon every day", "0 12 * * *", "every day at 12:00"),
    ("midnight on the first day of every month", "0 0 1 * *", "on the 1st of every month at 00:00"),
    ("every month on the last Friday at 12", "0 12 * * 5L", "on the last Friday of every month at 12:00"),
    ("every month on the 1st at 0:00", "0 0 1 * *", "on the 1st of every month at 00:00"),
    ("every fifth Monday of the month at 8", "0 8 * * MON#5", "on the fifth Monday of every month at 08:00"),
    ("every year on 29 February at 12", "0 12 29 2 *", "every year on the 29th of February at 12:00"),
    ("every day at 12:30 pm", "30 12 * * *", "every day at 12:30"),
    ("every day at 12:15 am", "15 0 * * *", "every day at 00:15"),
    ("every day at 20:00.", "0 20 * * *", "every day at 20:00"),
    ("EVERY DAY AT NOON", "0 12 * * *", "every day at 12:00"),
    ("every 1st Monday of the month at 9", "0 9 * * MON#1", "on the first Monday of every month at 09:00"),
    (
        "on the 1st, 10th and 20th of every month at 6",
        "0 6 1,10,20 * *",
        "on the 1st, 10th and 20th of every month at 06:00",
    ),
    ("every week on Sunday at 3", "0 3 * * SUN", "every Sunday at 03:00"),
    ("every 12 hours on Mondays", "0 */12 * * MON", "every 12 hours on Mondays"),
    ("every 20 minutes between 22:00 and 23:40", "*/20 22-23 * * *", "every 20 minutes between 22:00 and 23:40"),
    ("every minute on Mondays", "* * * * MON", "every minute on Mondays"),
    ("every 5 minutes between 9:00 and 9:55", "*/5 9 * * *", "every 5 minutes between 09:00 and 09:55"),
    ("every day on the hour", "0 * * * *", "every hour at :00"),
    ("every weekday on the hour", "0 * * * MON-FRI", "every hour at :00 on weekdays"),
    ("every minute on Mondays", "* * * * MON", "every minute on Mondays"),
    ("every minute between 9:00 and 9:59", "* 9 * * *", "every minute between 09:00 and 09:59"),
    ("every 30 minutes on the 1st of every month", "*/30 * 1 * *", "every 30 minutes on the 1st of every month"),
    (
        "every hour between 8 and 18 on the last day of the month",
        "0 8-18 L * *",
        "every hour between 08:00 and 18:00 on the last day of every month",
    ),
    ("on the 15th and last day of the month at 6", "0 6 15,L * *", "on the 15th and last day of every month at 06:00"),
    (
        "every Tuesday and Thursday in March and April at 8:05",
        "5 8 * 3,4 TUE,THU",
        "every Tuesday and Thursday in March and April at 08:05",
    ),
    ("every day at 0:00", "0 0 * * *", "every day at 00:00"),
    ("at midnight every day", "0 0 * * *", "every day at 00:00"),
    ("every 3 hours between 6:15 and 21:15", "15 6-21/3 * * *", "every 3 hours between 06:15 and 21:15"),
    (
        "every year on the last Sunday of March at 1:30",
        "30 1 * 3 0L",
        "every year on the last Sunday of March at 01:30",
    ),
    ("every 1 January at 0:30", "30 0 1 1 *", "every year on the 1st of January at 00:30"),
    ("every 20 minutes from 9 to 9:40", "*/20 9 * * *", "every 20 minutes between 09:00 and 09:40"),
    ("at 9 every Monday", "0 9 * * MON", "every Monday at 09:00"),
    ("every weekday at 9 am, 1 pm and 5 pm", "0 9,13,17 * * MON-FRI", "every weekday at 09:00, 13:00 and 17:00"),
]

INTERVALS = [
    ("every 15 minutes", 900),
    ("every hour", 3600),
    ("every minute", 60),
    ("every second", 1),
    ("every 10 seconds", 10),
    ("every two hours", 7200),
    ("every 90 minutes", 5400),
    ("every half hour", 1800),
    ("every half an hour", 1800),
    ("every 1 hour and 30 minutes", 5400),
    ("every 2 days", 172800),
    ("every 2 weeks", 1209600),
    ("hourly", 3600),
]

MOMENTS = [
    ("in 20 minutes", "2026-11-04T13:20:00+01:00"),
    ("tomorrow at 9", "2026-11-05T09:00:00+01:00"),
    ("at noon on 24 December", "2026-12-24T12:00:00+01:00"),
    ("next Friday at 5pm", "2026-11-06T17:00:00+01:00"),
    ("in an hour", "2026-11-04T14:00:00+01:00"),
    ("in half an hour", "2026-11-04T13:30:00+01:00"),
    ("in 2 hours and 30 minutes", "2026-11-04T15:30:00+01:00"),
    ("in 1h30m", "2026-11-04T14:30:00+01:00"),
    ("in 90 seconds", "2026-11-04T13:01:30+01:00"),
    ("in 3 days", "2026-11-07T13:00:00+01:00"),
    ("in a week", "2026-11-11T13:00:00+01:00"),
    ("today at 18:30", "2026-11-04T18:30:00+01:00"),
    ("tomorrow at noon", "2026-11-05T12:00:00+01:00"),
    ("tomorrow at midnight", "2026-11-05T00:00:00+01:00"),
    ("on Friday at 17:00", "2026-11-06T17:00:00+01:00"),
    ("Friday at 5 pm", "2026-11-06T17:00:00+01:00"),
    ("this Friday at 9", "2026-11-06T09:00:00+01:00"),
    ("on 24 December 2027 at 18:00", "2027-12-24T18:00:00+01:00"),
    ("on December 24th, 2027 at 6 pm", "2027-12-24T18:00:00+01:00"),
    ("2027-01-02 at 08:15", "2027-01-02T08:15:00+01:00"),
    ("on 2027-01-02 at 8:15", "2027-01-02T08:15:00+01:00"),
    ("2027-01-02T08:15", "2027-01-02T08:15:00+01:00"),
    ("24 December at noon", "2026-12-24T12:00:00+01:00"),
    ("once, on Friday 27 November 2026 at 17:00", "2026-11-27T17:00:00+01:00"),
    ("on 29 February at 12", "2028-02-29T12:00:00+01:00"),
    ("in 1 day and 2 hours", "2026-11-05T15:00:00+01:00"),
    ("in 5 min", "2026-11-04T13:05:00+01:00"),
    ("in 1 second", "2026-11-04T13:00:01+01:00"),
    ("in 1 week and 1 day", "2026-11-12T13:00:00+01:00"),
    ("in an hour and 15 minutes", "2026-11-04T14:15:00+01:00"),
    ("tomorrow at 8 in the evening", "2026-11-05T20:00:00+01:00"),
    ("Sunday at midnight", "2026-11-08T00:00:00+01:00"),
]

REFUSED = [
    ("", "nothing was said"),
    ("at 9", "`every day at"),
    ("8", "`8`: is it an hour or a day?"),
    ("21", "`on the 21st of every month`"),
    ("every day between January and March at 9", "`from June to August`"),
    ("between Mondays and Fridays at 9", "`from Monday to Friday`"),
    ("from Mondays and Fridays at 9", "`from Monday to Friday`"),
    ("noon", "on which day?"),
    ("Monday", "at what time?"),
    ("tomorrow", "at what time?"),
    ("every day", "at what time?"),
    ("every month on the 15th", "at what time?"),
    ("on 24 December", "at what time?"),
    ("every day at 25", "hours go from 0 to 23"),
    ("every day at 8:60", "minutes from 0 to 59"),
    ("every day at 13 pm", "no hour of the pm"),
    ("every day at 12 pm", "`noon` or `midnight`"),
    ("every day at 12 am", "`noon` or `midnight`"),
    ("every day at 11 in the afternoon", "no hour of the afternoon"),
    ("every morning", "say the hour"),
    ("tonight at 8", "`tonight`"),
    ("soon", "`soon`: it is vague"),
    ("in a while", "`while` is not a word"),
    ("in a month", "`month`: it has no one length"),
    ("in 3 months", "`months`: it has no one length"),
    ("in 2 years", "`years`: it has no one length"),
    ("every month at 9", "on which day"),
    ("every year at 9", "on which day"),
    ("every week at 9", "on which day of the week"),
    ("every December at 9", "a day after the month"),
    ("every weekend at 9", "on Saturday, on Sunday or on both?"),
    ("every other Tuesday at 9", "`other`"),
    ("every second Tuesday at 10", "the second Tuesday of the month"),
    ("every second day at 9", "of the month, or counted"),
    ("every 3rd day in June at 9", "of the month, or counted"),
    ("every day at 8 and 9 pm", "`8`: in which half of the day"),
    ("every day at 9 am, 1 and 5 pm", "`1`: in which half of the day"),
    ("every day at 8 in the evening and 9:30", "`9:30`: in which half of the day"),
    ("every hour between 1 and 5 pm", "`1`: in which half of the day"),
    ("every hour from 8 am to 10", "`10`: in which half of the day"),
    ("1 January 0001 at 0:30", "calendar's beginning"),
    ("twice a day", "`twice`"),
    ("three times a week", "`times`"),
    ("biweekly on Monday", "`biweekly`"),
    ("every fortnight", "every 14 days"),
    ("quarterly", "January, April, July and October"),
    ("every 45 minutes on weekdays", "divides 60"),
    ("every 5 hours on weekdays", "does not divide a day"),
    ("every 10 seconds on weekdays", "can't be bounded"),
    ("every 2 hours at 9", "no time of day"),
    ("every 3 days at 9", "no time of day"),
    ("every 15 minutes between 9 and 17", "`between 09:00 and 16:45`"),
    ("every 15 minutes between 9:10 and 17:45", "begins with an hour"),
    ("every 2 hours between 22 and 6", "over midnight"),
    ("every 2 hours between 9 and 10", "only once"),
    ("between 9 and 17", "how often"),
    ("every 2 hours on Monday", "`on Mondays`"),
    ("every day at 8:00 and 20:30", "a schedule of each"),
    ("every day at 8:00:30", "leave the seconds out"),
    ("on the 15th at 9", "once or every month?"),
    ("on Monday and Thursday at 9", "once or every week?"),
    ("on the first Monday at 9", "of the month"),
    ("on the first Monday of January at 9", "every year"),
    ("on 24 and 31 December at noon", "once or every year?"),
    ("on the first weekday of the month at 9", "`the last weekday`"),
    ("on the 32nd of every month at 9", "no month has such a day"),
    ("every sixth Monday of the month at 9", "no month has 6"),
    ("on 30 February at 12", "in no calendar"),
    ("on 2027-02-30 at 12", "in no calendar"),
    ("every 30 February at 12", "never comes"),
    ("12/24 at 9", "which is the day and which the month?"),
    ("24.12.2026 at 9", "`24.12.2026`"),
    ("Friday in December at 9", "`every Monday in December`"),
    ("every 15 minutes every day", "leave out `every day`"),
    ("every 1st on the last Friday of May at 9", "a day of the month and a day of the week"),
    ("every Friday the 13th at 9", "a day of the month and a day of the week"),
    ("on Monday 27 November 2026 at 17:00", "is a Friday"),
    ("every day and every Monday at 9", "every day, or on these days?"),
    ("once every day at 9", "`once`"),
    ("next Friday every week at 9", "`next`"),
    ("every 24 December 2026 at 9", "`2026`"),
    ("tomorrow at 9 and 10", "once has one time"),
    ("tomorrow on Friday at 9", "two days"),
    ("every day at 9 at 10", "twice at which time"),
    ("today at 9", "is past"),
    ("on 1 November 2026 at 9", "is past"),
    ("yesterday at 9", "`yesterday`"),
    ("on 28 March 2027 at 2:30", "does not exist in Europe/Berlin"),
    ("on 31 October 2027 at 2:30", "comes twice in Europe/Berlin"),
    ("at 9 UTC every day", "`tz`"),
    ("every day at 9 in Berlin", "`berlin`"),
    ("every day at 9 starting tomorrow", "`starting`"),
    ("every day at 9 until Friday", "no end"),
    ("every day except Sunday at 9", "`except`"),
    ("every business day at 9", "holidays"),
    ("every 0 minutes", "no pause"),
    ("in 0 minutes", "now"),
    ("in -5 minutes", "`-`"),
    ("in 5 minutes at 8", "leave out the day"),
    ("every 1.5 hours", "`1.5`"),
    ("in 99999999 days", "calendar's end"),
    ("every 99999 weeks", "ten years"),
    ("every 15", "a unit"),
    ("now", "without a schedule"),
    ("every weekday at half past 8", "in figures"),
    ("next week", "say on which day"),
    ("last Friday at 9", "of the month"),
    ("remind me every day at 8", "`remind`"),
    ("každý den v 8", "`každý`"),
    ("every day at 8 \N{ALARM CLOCK}", "`\N{ALARM CLOCK}`"),
    ("0 8 * *", "`*`"),
]


def here(text, now=NOW):
    return understand(text, now, BERLIN)


def test_the_tables_are_as_long_as_they_should_be():
    assert len({row[0] for row in CRONS + INTERVALS + MOMENTS}) >= 120
    assert len({row[0] for row in REFUSED}) >= 90


@pytest.mark.parametrize(("text", "cron", "said"), CRONS)
def test_what_comes_again_becomes_an_expression_and_is_said_so_that_it_is_understood_again(text, cron, said):
    understood = here(text)
    assert understood == Understood(said, cron=cron)
    assert here(said) == understood
    assert here(f"  {text.upper()}. ") == understood


@pytest.mark.parametrize(("text", "seconds"), INTERVALS)
def test_a_step_alone_becomes_an_interval(text, seconds):
    understood = here(text)
    assert (understood.every, understood.cron, understood.at) == (seconds * 1000, None, None)
    assert here(understood.sentence) == understood


@pytest.mark.parametrize(("text", "moment"), MOMENTS)
def test_what_comes_once_becomes_a_moment(text, moment):
    understood = here(text)
    assert (understood.at.isoformat(), understood.cron, understood.every) == (moment, None, None)
    assert here(understood.sentence) == understood


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_is_not_understood_or_could_mean_two_things_is_refused_by_name(text, says):
    with pytest.raises(PhraseError) as caught:
        here(text)
    assert says in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("on the last Friday of the month at noon", ["2026-11-27T12:00:00+01:00", "2026-12-25T12:00:00+01:00"]),
        ("every second Tuesday of the month at 10", ["2026-11-10T10:00:00+01:00", "2026-12-08T10:00:00+01:00"]),
        ("on the 1st and 15th at midnight", ["2026-11-15T00:00:00+01:00", "2026-12-01T00:00:00+01:00"]),
        ("on the last weekday of the month at 17", ["2026-11-30T17:00:00+01:00", "2026-12-31T17:00:00+01:00"]),
        (
            "every 2 hours between 9 and 17 on weekdays",
            ["2026-11-04T15:00:00+01:00", "2026-11-04T17:00:00+01:00", "2026-11-05T09:00:00+01:00"],
        ),
        (
            "every 15 minutes between 9:00 and 9:45 on Sundays",
            [f"2026-11-08T09:{minute:02}:00+01:00" for minute in (0, 15, 30, 45)] + ["2026-11-15T09:00:00+01:00"],
        ),
        ("every year on 24 December at noon", ["2026-12-24T12:00:00+01:00", "2027-12-24T12:00:00+01:00"]),
    ],
)
def test_it_fires_when_people_would_expect_it(text, fires):
    found = islice(Cron(here(text).cron).fires(NOW, BERLIN), len(fires))
    assert [fire.isoformat() for fire in found] == fires


def test_in_so_many_minutes_is_never_earlier_than_said():
    now = datetime(2026, 11, 4, 12, 0, 0, 1, tzinfo=UTC)
    assert here("in 20 minutes", now).at == datetime(2026, 11, 4, 12, 20, 1, tzinfo=UTC)


def test_days_are_the_calendar_s_and_hours_the_clock_s_where_it_is_put_back():
    now = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)  # the day before; 14:00 in Berlin
    assert here("in 1 day", now).at.isoformat() == "2026-10-25T14:00:00+01:00"
    assert here("in 24 hours", now).at.isoformat() == "2026-10-25T13:00:00+01:00"


@pytest.mark.parametrize(
    ("now", "text", "date"),
    [
        ("2026-11-06T10:00", "Friday at 9", "2026-11-13"),
        ("2026-11-06T10:00", "Friday at 11", "2026-11-06"),
        ("2026-11-06T10:00", "this Friday at 11", "2026-11-06"),
        ("2026-11-06T10:00", "next Friday at 11", "2026-11-13"),
        ("2026-11-05T10:00", "next Friday at 11", "2026-11-06"),
        ("2026-12-24T10:00", "24 December at 11", "2026-12-24"),
        ("2026-12-24T12:00", "24 December at 11", "2027-12-24"),
    ],
)
def test_which_day_is_meant(now, text, date):
    assert here(text, datetime.fromisoformat(now).replace(tzinfo=BERLIN)).at.date().isoformat() == date


WORDS = st.sampled_from(
    [
        "every",
        "each",
        "on",
        "the",
        "at",
        "in",
        "between",
        "from",
        "to",
        "and",
        ",",
        "once",
        "today",
        "tomorrow",
        "next",
        "this",
        "last",
        "first",
        "second",
        "1st",
        "15th",
        "31st",
        "of",
        "month",
        "day",
        "week",
        "year",
        "weekday",
        "weekdays",
        "weekends",
        "weekend",
        "Monday",
        "Tuesdays",
        "Friday",
        "-",
        "Mon",
        "Sun",
        "December",
        "January",
        "Feb",
        "24",
        "9",
        "9:30",
        "noon",
        "midnight",
        "5",
        "pm",
        "am",
        "15",
        "minutes",
        "hour",
        "hours",
        "2",
        "half",
        "an",
        ":15",
        "past",
        "daily",
        "weekly",
        "monthly",
        "yearly",
        "2027",
        "2027-01-02",
        "hourly",
        "days",
        "morning",
        "until",
        "0",
        "seconds",
        "30",
        "three",
        "weeks",
    ]
)
CLAUSES = st.sampled_from(
    [
        "every day",
        "every weekday",
        "every Monday and Friday",
        "on weekends",
        "on the first Monday of the month",
        "at 9",
        "at 8:30 and 20:30",
        "at noon",
        "on the 1st and 15th",
        "on the last day of the month",
        "every 15 minutes",
        "every 2 hours",
        "between 9 and 17",
        "from 8:00 to 9:45",
        "in December",
        "in 20 minutes",
        "every year",
        "on 24 December",
        "tomorrow",
        "next Friday",
        "every hour",
        "at :15",
        "on Mondays",
        "every month",
        "once",
        "2027-01-02",
    ]
)


@given(st.lists(WORDS, max_size=9).map(" ".join) | st.lists(CLAUSES, max_size=4).map(" ".join) | st.text())
def test_any_text_is_understood_the_same_again_or_refused(text):
    try:
        understood = here(text)
    except PhraseError as error:
        told = error.message
    else:
        told = understood.sentence
        assert [understood.cron, understood.every, understood.at].count(None) == 2
        if told[0].islower():  # else it is the library's sentence, of what no phrase says as shortly
            assert here(told) == understood
    assert told


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 8 * * 1-5", "every weekday at 08:00"),
        ("0 0 * * 6,0", "every Saturday and Sunday at 00:00"),
        ("@monthly", "on the 1st of every month at 00:00"),
        ("@weekly", "every Sunday at 00:00"),
        ("@yearly", "every year on the 1st of January at 00:00"),
        # What no phrase makes is said by the library's sentence.
        ("*/5 * * * *", "Every fifth minute of every hour"),
        ("0 0 21-23 * *", "At 00:00 on every day of month from 21 through 23"),
        ("0 12 1 * MON", "At 12:00 on the first day of month, or on Monday"),
        ("30 0 8 * * *", "At 08:00:30 every day"),
    ],
)
def test_an_expression_is_said_as_a_phrase_where_one_can_say_as_much(cron, said):
    assert sentence.of_cron(Cron(cron)) == said
    if said[0].islower():
        understood = Cron(here(said).cron)
        expected = islice(Cron(cron).fires(NOW, BERLIN), 20)
        assert list(islice(understood.fires(NOW, BERLIN), 20)) == list(expected)


@pytest.mark.parametrize("text", ["0 8 * * MON-FRI", "@daily", " 0 9 1 1 MON ", "0 0 8 1 1 1", "*/5 * * * *"])
def test_an_expression_is_read_as_one(text):
    assert when.read(text, NOW, BERLIN).cron == text.strip()


@pytest.mark.parametrize(
    "text", ["0 8 * *", "61 * * * *", "0 8 ? * *", "@reboot", "0 0 15W 1 1", "H H 1 1 1", "1 2 3 4"]
)
def test_a_wrong_expression_is_refused_as_one(text):
    with pytest.raises(CronError):
        when.read(text, NOW, BERLIN)


@pytest.mark.parametrize("text", ["9 am every Monday", "24 December at 9", "hourly", "5 mon", ""])
def test_english_that_begins_with_a_number_is_read_as_english(text):
    try:
        assert when.read(text, NOW, BERLIN).sentence
    except PhraseError as error:
        assert error.message


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"cron": "0 8 * * MON-FRI", "tz": "Europe/Berlin"}, "every weekday at 08:00 (Europe/Berlin)"),
        ({"cron": "no expression"}, "no expression (UTC)"),
        ({"every": 5_400_000}, "every 90 minutes"),
        ({"every": 1}, "every 0.001 seconds"),
        ({"every": 86_400_000}, "every 1 day"),
        ({"at": 0}, "once, on Thursday 1 January 1970 at 00:00 (UTC)"),
    ],
)
def test_a_timer_is_told(times, said):
    timer = Timer(id="x", owner="o", tenant="o", created_at=0, template=Template(task=Task(kind="a.b")), **times)
    assert when.tell(timer) == said


PAGE = (Path(__file__).parents[2] / "docs/schedules.md").read_text()


def test_the_page_shows_what_is_understood():
    rows = re.findall(r"^\| `([^`]+)` \| ([^|`]+) \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 15
    assert [(text, here(text).sentence, here(text).cron) for text, _, _ in rows] == rows


def test_what_the_page_calls_an_interval_or_a_moment_is_one_and_what_it_calls_an_error_is_refused():
    plain = " ".join(PAGE.split())
    intervals = plain.partition("counted from when the schedule is made: ")[2].partition(". These")[0]
    moments = plain.partition("These come once: ")[2].partition(". - ")[0]
    errors = plain.partition("nothing is guessed. So ")[2].partition(" are errors")[0]
    for told, meaning, count in ((intervals, "every", 5), (moments, "at", 9)):
        phrases = re.findall(r"`([^`]+)`", told)
        assert len(phrases) >= count
        for phrase in phrases:
            assert getattr(here(phrase), meaning) is not None, phrase
    for phrase in (phrases := re.findall(r"`([^`]+)`", errors)):
        with pytest.raises(PhraseError):
            here(phrase)
    assert len(phrases) >= 7
