"""Steps through a day, as cron can hold them: `every 2 hours between 9 and 17`, `every 15 minutes` on certain days.

By itself a step is an interval. In cron it begins anew each hour or day, so it has to divide that evenly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbone.phrase.words import UNITS, refused

if TYPE_CHECKING:
    from datetime import time

    from backbone.phrase.said import Said

DAY_MINUTES = 24 * 60


def through_the_day(said: Said, days: str) -> str:
    """Return the minute and hour of a step that is one of certain days, or bounded by times.

    Args:
        said: what says the step.
        days: day of month, month and day of week.

    Raises:
        PhraseError: one line of cron can't hold it, or it is an interval that needs no days.
    """
    step = UNITS["hour"] if said.step is None else said.step
    if said.times:
        raise refused(
            "an interval is counted from when it is made, and has no time of day: leave out `at …`, or name all times"
        )
    if days == "* * *" and not (said.past or said.window):
        raise refused(f"leave out `every {said.cadence}`: an interval goes on day and night anyway")
    if step % 60:
        raise refused("a step of seconds can't be bounded: say it by itself, such as `every 90 seconds`")
    minutes = step // 60
    if said.past:
        if minutes != 60 or said.window:
            raise refused("minutes past the hour go with `every hour`")
        return f"{','.join(map(str, sorted(set(said.past))))} *"
    if minutes % 60 == 0 and minutes < DAY_MINUTES:
        return _hours(minutes // 60, said.window)
    if minutes < 60 and 60 % minutes == 0:
        return _minutes(minutes, said.window)
    raise refused(
        f"every {minutes} minutes fits in no hour or day evenly: on certain days or between times, "
        "a step divides 60 minutes or 24 hours"
    )


def _hours(step: int, window: tuple[time, time] | None) -> str:
    if window is None:
        if 24 % step:
            raise refused(f"every {step} hours does not divide a day evenly: say between which times")
        return "0 *" if step == 1 else f"0 */{step}"
    first, last = _rising(window)
    hours = range(first.hour, last.hour + (first.minute <= last.minute), step)
    if len(hours) < 2:
        raise refused("between these times it comes only once: name the time")
    return f"{first.minute} {hours[0]}-{hours[-1]}" + ("" if step == 1 else f"/{step}")


def _minutes(step: int, window: tuple[time, time] | None) -> str:
    minute = "*" if step == 1 else f"*/{step}"
    if window is None:
        return f"{minute} *"
    first, last = _rising(window)
    if first.minute:
        raise refused(f"a step of minutes begins with an hour: say `between {first.hour:02}:00 and …`")
    if last.minute < 60 - step:
        hour = last.hour - (last.minute == 0)
        raise refused(
            f"both times are included, and a step of minutes ends with an hour: say `between {first:%H:%M} and "
            f"{max(hour, first.hour):02}:{60 - step}`"
        )
    return f"{minute} {first.hour}-{last.hour}" if first.hour < last.hour else f"{minute} {first.hour}"


def _rising(window: tuple[time, time]) -> tuple[time, time]:
    first, last = window
    if last <= first:
        raise refused(f"{last:%H:%M} is not after {first:%H:%M}: what goes over midnight takes two schedules")
    if first.second or last.second:
        raise refused("what comes again comes at a full minute: leave the seconds out")
    return first, last
