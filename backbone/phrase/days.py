"""Days: of the week, of the month, by their place in it, and dates.

Monday · Mondays and Thursdays · Monday to Friday · weekdays · next Friday
the 1st and 15th of every month · the last day of the month · the first and third Monday of the month
24 December · December 24th, 2026 · 2026-12-24
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from backbone.phrase.cursor import Cursor
from backbone.phrase.said import LAST, LAST_WEEKDAY
from backbone.phrase.words import MONTH, ORDINAL, WEEKDAY, refused, singular

if TYPE_CHECKING:
    from backbone.phrase.words import Token


DASHES = ("to", "through", "till", "until", "-")
"""What stands between the two ends of a range."""


class Days(Cursor):
    """Reads days."""

    def _is_weekday(self, token: Token) -> bool:
        return token.text in WEEKDAY or singular(token.text) in WEEKDAY

    def _is_day(self, token: Token) -> bool:
        return self._is_weekday(token) or token.text in {"day", "weekday"}

    def _is_place(self) -> bool:
        return self._peek.kind == "ordinal" or self._peek.text in ORDINAL or self._peek.text == "last"

    def _day(self) -> None:
        self._maybe("the")
        word = self._peek.text
        if self._maybe("next", "this"):
            self._said.which = word
            if not self._is_weekday(self._peek):
                raise self._unexpected("a day of the week, such as `next Friday`")
        if self._is_place():
            self._placed()
        elif self._is_weekday(self._peek):
            self._put("weekdays", self._weekdays(), "on which day of the week")
        elif self._maybe("weekday", "weekdays"):
            self._said.again = self._said.again or word == "weekdays"
            self._put("weekdays", [1, 2, 3, 4, 5], "on which day of the week")
        elif self._maybe("weekends"):
            self._said.again = True
            self._put("weekdays", [6, 0], "on which day of the week")
        elif self._maybe("weekend"):
            raise refused("`weekend`: on Saturday, on Sunday or on both? say `every Saturday and Sunday at 9`")
        else:
            self._date()

    def _date(self) -> None:
        """Read `24 December`, `December 24th, 2026` or `2026-12-24`."""
        if self._peek.kind == "iso":
            self._iso()
        elif self._peek.kind == "number":
            self._put("days", self._several(self._number, lambda: self._peek.kind == "number"), "on which day")
            self._put("months", self._months(), "in which month")
            self._year()
        elif self._peek.text in MONTH:
            self._month_first()
        else:
            raise self._unexpected("a day, a date or a time")

    def _placed(self) -> None:
        """Read `first and third Monday of the month`, `last day of the month` or `1st and 15th of every month`."""
        places = self._several(self._place, self._is_place)
        if self._is_weekday(self._peek):
            if max(places) > 5:
                raise refused(f"no month has {max(places)} of a weekday")
            self._put("places", places, "on which day")
            self._put("weekdays", self._weekdays(), "on which day of the week")
        elif self._maybe("weekday"):
            if places != [LAST]:
                raise refused("of the weekdays of a month only the last one can be said in cron: `the last weekday`")
            self._put("days", [LAST_WEEKDAY], "on which day")
        else:
            named = self._maybe("day", "days")
            if not named and LAST in places:
                raise self._unexpected("`day`, `weekday` or a day of the week after `last`")
            if named and self._said.again and places != [LAST] and self._peek.text not in {"of", *MONTH}:
                raise refused(
                    "of the month, or counted from some day? say `on the 2nd of every month`, or `every 48 hours`"
                )
            self._put("days", places, "on which day")
        if self._maybe("of"):
            if self._maybe("the", "every", "each"):
                self._expect("month")
                self._said.each_month = True
                return
            self._put("months", self._months(), "in which month")
            self._year()
        elif self._peek.text in MONTH:
            self._put("months", self._months(), "in which month")
            self._year()

    def _weekdays(self) -> list[int]:
        first = self._weekday()
        if self._dash():
            self._said.again = True
            last = self._weekday()
            if last == first:
                raise refused("a range of days has two ends that differ")
            found = [first]
            while found[-1] != last:
                found.append((found[-1] + 1) % 7)
            return found
        found = [first]
        if self._peek.text in {",", "&", "and"}:
            self._at -= 1
            found = self._several(self._weekday, lambda: self._is_weekday(self._peek))
        return found

    def _weekday(self) -> int:
        word = self._take().text
        if word in WEEKDAY:
            return WEEKDAY[word]
        if singular(word) not in WEEKDAY:
            self._at -= 1
            raise self._unexpected("a day of the week")
        self._said.again = True
        return WEEKDAY[singular(word)]

    def _place(self) -> int:
        token = self._take()
        if token.text == "last":
            return LAST
        number = ORDINAL.get(token.text) or int(token.text[:-2])
        if not 1 <= number <= 31:
            raise refused(f"`{token.text}`: no month has such a day")
        return number

    def _dash(self) -> bool:
        return self._maybe(*DASHES) is not None

    def _months(self) -> list[int]:
        first = self._month()
        if self._dash():
            last = self._month()
            if last <= first:
                raise refused("a range of months rises: name the months instead")
            return list(range(first, last + 1))
        if self._peek.text in {",", "&", "and"}:
            self._at -= 1
            return self._several(self._month, lambda: self._peek.text in MONTH)
        return [first]

    def _month(self) -> int:
        if self._peek.text not in MONTH:
            raise self._unexpected("a month, such as `December`")
        return MONTH[self._take().text]

    def _month_first(self) -> None:
        """Read `December 24`, `December 24th, 2026` or a month alone."""
        month = self._month()
        if self._peek.kind == "number" or self._is_place():
            day = self._number() if self._peek.kind == "number" else self._place()
            self._put("days", [day], "on which day")
            self._put("months", [month], "in which month")
            self._year()
        else:
            raise self._unexpected("a day after the month")

    def _year(self) -> None:
        comma = self._peek.text == ","
        token = self._ahead(1) if comma else self._peek
        if token.kind == "number" and len(token.text) == 4:
            self._at += 2 if comma else 1
            self._put("year", int(token.text), "in which year")

    def _iso(self) -> None:
        text = self._take().text
        try:
            day = date.fromisoformat(text[:10])
        except ValueError:
            raise refused(f"`{text}` is in no calendar") from None
        self._put("days", [day.day], "on which day")
        self._put("months", [day.month], "in which month")
        self._put("year", day.year, "in which year")
