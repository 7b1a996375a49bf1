"""Times of day and durations: `8:00`, `7:30 pm`, `noon`, `8 in the evening`, `2 hours and 30 minutes`, `half an hour`."""

from __future__ import annotations

from datetime import time
from itertools import pairwise

from backbone.phrase.cursor import END, Cursor
from backbone.phrase.words import MONTH, NUMBER, UNIT, UNITS, refused

_HOURS = {
    "am": (12, *range(1, 12)),
    "pm": (12, *range(1, 12)),
    "morning": tuple(range(1, 12)),
    "afternoon": (12, *range(1, 7)),
    "evening": tuple(range(5, 12)),
}


class Times(Cursor):
    """Reads times and durations."""

    def _minute(self) -> int:
        minute = int(self._take().text[1:]) if self._peek.kind == "past" else self._number()
        if minute > 59:
            raise refused(f"minutes go from 0 to 59, found {minute}")
        return minute

    def _time_begins(self) -> bool:
        token = self._peek
        if token.kind == "number":
            return self._ahead(1).text not in MONTH
        return token.kind == "clock" or token.text in {"noon", "midnight"}

    def _times(self) -> None:
        begin = self._at
        found = [self._time()]
        while self._peek.text in {",", "&", "and"}:
            mark = self._at
            while self._maybe(",", "&", "and"):
                pass
            if not self._time_begins():
                self._at = mark
                break
            found.append(self._time())
        self._check_halves(begin)
        self._put("times", found, "at which time")

    def _check_halves(self, begin: int) -> None:
        """Refuse times of which only some say in which half of the day they are: `at 8 and 9 pm`, `between 1 and 5 pm`."""
        read = self._tokens[begin : self._at]
        times = [(token, after) for token, after in pairwise([*read, END]) if token.kind in {"number", "clock"}]
        bare = [token for token, after in times if after.text not in {"am", "pm", "in"}]
        for token in bare:
            if len(bare) < len(times) and 1 <= int(token.text.partition(":")[0]) <= 12:
                raise refused(f"`{token.text}`: in which half of the day? say `am` or `pm` of each time, or of none")

    def _time(self) -> time:
        token = self._peek
        if self._maybe("noon", "midnight"):
            return time(12) if token.text == "noon" else time(0)
        if token.kind not in {"number", "clock"}:
            raise self._unexpected("a time, such as `8:00`, `7:30 pm` or `noon`")
        parts = [int(part) for part in self._take().text.split(":")] if len(token.text) <= 8 else [99]
        half = self._half()
        if half is not None:
            if parts == [12]:
                raise refused(f"`12 {half}` is read both ways: say `noon` or `midnight`")
            if parts[0] not in _HOURS[half]:
                hours = _HOURS[half]
                raise refused(f"`{token.text}` is no hour of the {half}: they go from {hours[0]} to {hours[-1]}")
            parts[0] = parts[0] % 12 + (0 if half in {"am", "morning"} else 12)
        try:
            hour, minute, second, *_ = (*parts, 0, 0)
            return time(hour, minute, second)
        except ValueError:
            raise refused(f"`{token.text}` is no time of day: hours go from 0 to 23, minutes from 0 to 59") from None

    def _half(self) -> str | None:
        if self._peek.text == "in" and self._ahead(1).text == "the":
            self._at += 2
            return self._expect("morning", "afternoon", "evening")
        return self._maybe("am", "pm")

    def _seconds(self) -> int:
        days, seconds = self._duration()
        total = days * UNITS["day"] + seconds
        if total == 0:
            raise refused("every 0 is no pause")
        return total

    def _duration(self) -> tuple[int, int]:
        """Return days and seconds, which are not the same where a clock is put forward or back."""
        days = seconds = 0
        while True:
            count, unit = self._counted()
            if unit in {"day", "week"}:
                days += count * UNITS[unit] // UNITS["day"]
            else:
                seconds += count * UNITS[unit]
            mark = self._at
            while self._maybe(",", "and"):
                pass
            counts = self._peek.kind == "number" or self._peek.text in NUMBER or self._peek.text in {"a", "an"}
            if not counts or self._ahead(1).text not in UNIT:
                self._at = mark
                return days, seconds

    def _counted(self) -> tuple[int, str]:
        if self._maybe("half"):
            self._maybe("a", "an")
            self._expect("hour")
            return 30, "minute"
        count = 1 if self._maybe("a", "an") else self._number()
        word = self._peek.text
        if word in {"month", "year"}:
            raise refused(f"`{word}`: it has no one length: say days, weeks or a date, such as `24 December`")
        if word not in UNIT:
            raise self._unexpected("a unit, such as `minutes`, `hours` or `days`")
        return count, UNIT[self._take().text]
