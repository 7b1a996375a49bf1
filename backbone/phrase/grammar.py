"""The grammar of schedules in plain English: what a text says, clause by clause.

    phrase  = clause { [","|"and"] clause }
    clause  = "every" … | "on" … | "at" … | "in" … | "between" … | a day, a date or a time by itself

The clauses may come in any order; what each says goes into `Said`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbone.cron import ordinal_suffix
from backbone.phrase.cursor import END
from backbone.phrase.days import DASHES, Days
from backbone.phrase.times import Times
from backbone.phrase.words import MONTH, NUMBER, UNITS, refused, tokens

if TYPE_CHECKING:
    from backbone.phrase.said import Said

_CADENCE = {"daily": "day", "weekly": "week", "monthly": "month", "yearly": "year", "annually": "year"}


def read(text: str) -> Said:
    """Return what a text says.

    Raises:
        PhraseError: it can't be read; the message names the word.
    """
    return _Reader(tokens(text)).read()


class _Reader(Days, Times):
    def read(self) -> Said:
        while self._peek is not END:
            if not self._maybe(",", "&", "and"):
                self._clause()
        return self._said

    def _clause(self) -> None:
        begins = {
            **dict.fromkeys(("every", "each"), self._every),
            **dict.fromkeys(_CADENCE, self._cadence),
            **dict.fromkeys(("today", "tomorrow"), self._today),
            **dict.fromkeys(("between", "from"), self._window),
            "hourly": lambda: self._put("step", UNITS["hour"], "how often"),
            "once": lambda: self._put("once", value=True, told="that it comes once"),
            "at": self._at_clause,
            "in": self._in,
            "on": self._on,
        }
        if self._peek.text in begins:
            begins[self._take().text]()
        else:
            self._bare()

    def _bare(self) -> None:
        """Read a day, a date or a time that no word leads in."""
        token, follows = self._peek, self._ahead(1).text
        if self._time_begins() and (token.kind != "number" or follows in {"am", "pm"}):
            self._times()
        elif token.kind == "number" and follows not in MONTH and follows not in {"and", ","}:
            day = f"{token.text}{ordinal_suffix(int(token.text[-4:]))}"
            hint = f"write `at {token.text}` or `on the {day} of every month`"
            raise refused(f"`{token.text}`: is it an hour or a day? {hint}")
        else:
            self._day()

    def _cadence(self) -> None:
        self._put("cadence", _CADENCE[self._previous], "how often")

    def _today(self) -> None:
        if self._said.ahead is not None:
            raise refused("it says twice on which day: say it once")
        self._said.ahead = int(self._previous == "tomorrow")

    def _on(self) -> None:
        if self._peek.text == "the" and self._ahead(1).text == "hour":
            self._at += 2
            self._put("past", [0], "at which minute")
        else:
            self._day()

    def _every(self) -> None:
        token, follows = self._peek, self._ahead(1)
        a_number = token.kind == "number" or token.text in NUMBER or token.text in {"half", "a", "an"}
        if a_number and follows.text not in MONTH and follows.text not in {"and", ","}:
            self._put("step", self._seconds(), "how often")
        elif token.text in {"day", "week", "month", "year"}:
            self._take()
            self._put("cadence", token.text, "how often")
        elif token.text in {"second", "minute", "hour"} and not self._is_day(follows):
            self._put("step", UNITS[self._take().text], "how often")
        else:
            self._said.again = True
            self._day()

    def _at_clause(self) -> None:
        if self._maybe("minute", "minutes"):
            self._put("past", self._several(self._minute, lambda: self._peek.kind == "number"), "at which minute")
        elif self._peek.kind == "past":
            self._put("past", self._several(self._minute, lambda: self._peek.kind == "past"), "at which minute")
        elif "past" in {self._ahead(1).text, self._ahead(2).text}:
            past = [self._minute()]
            self._maybe("minute", "minutes")
            self._expect("past")
            self._expect("every", "each", "the")
            self._expect("hour")
            self._put("past", past, "at which minute")
            self._put("step", UNITS["hour"], "how often")
        else:
            self._times()

    def _in(self) -> None:
        if self._peek.text in MONTH:
            self._put("months", self._months(), "in which month")
        elif self._peek.text == "the":
            raise refused("say the hour as well, such as `at 8 in the morning`")
        else:
            days, seconds = self._duration()
            self._put("after", (days, seconds), "in how long")

    def _window(self) -> None:
        word = self._previous
        if self._is_weekday(self._peek) or self._peek.text in MONTH:
            if word == "between" or self._ahead(1).text not in DASHES:
                raise refused("say a range of days or months as `from Monday to Friday` or `from June to August`")
            if self._peek.text in MONTH:
                self._put("months", self._months(), "in which month")
            else:
                self._day()
            return
        begin = self._at
        first = self._time()
        if word == "between":
            self._expect("and")
        elif not self._dash():
            raise self._unexpected("`to`")
        self._put("window", (first, self._time()), "between which times")
        self._check_halves(begin)
