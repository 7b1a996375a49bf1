"""The words of schedules in plain English: what each one means, and why one that is not understood is refused.

A text becomes a list of tokens here; `phrase_grammar` reads them. Every word is either in one of these tables or
refused by its name, with what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backbone.errors import PhraseError

EXAMPLES = "`every weekday at 8`, `on the last Friday of the month at noon` or `in 20 minutes`"

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
"""As cron counts them, from 0."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
"""Seconds of what can be counted; months and years are of no one length."""

_NUMBERS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]


def _weekday_words() -> dict[str, int]:
    short = {"tues": 2, "weds": 3, "thur": 4, "thurs": 4}
    return {word: number for number, name in enumerate(WEEKDAYS) for word in (name.lower(), name[:3].lower())} | short


def _unit_words() -> dict[str, str]:
    words = {word: unit for unit in UNITS for word in (unit, f"{unit}s")}
    short = {"second": "s sec secs", "minute": "m min mins", "hour": "h hr hrs", "day": "d", "week": "w wk wks"}
    return words | {word: unit for unit, several in short.items() for word in several.split()}


WEEKDAY = _weekday_words()
MONTH = {word: n for n, name in enumerate(MONTHS, 1) for word in (name.lower(), name[:3].lower())} | {"sept": 9}
UNIT = _unit_words()
NUMBER = {word: n for n, word in enumerate(_NUMBERS, 1)} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "ninety": 90,
}
ORDINAL = {word: n for n, word in enumerate(ORDINALS, 1)}

_STRUCTURE = frozenset(
    [
        "a",
        "afternoon",
        "am",
        "an",
        "and",
        "annually",
        "at",
        "between",
        "daily",
        "day",
        "each",
        "evening",
        "every",
        "from",
        "half",
        "hourly",
        "in",
        "last",
        "midnight",
        "month",
        "monthly",
        "morning",
        "next",
        "noon",
        "of",
        "on",
        "once",
        "past",
        "pm",
        "the",
        "this",
        "through",
        "till",
        "to",
        "today",
        "tomorrow",
        "until",
        "weekday",
        "weekdays",
        "weekend",
        "weekends",
        "weekly",
        "year",
        "yearly",
    ]
)

_INSTEAD = {
    **dict.fromkeys(
        ("night", "tonight", "mornings", "evenings", "nights", "noonish", "lunchtime", "dawn", "dusk", "sunrise", "sunset"),
        "it is no time of day here: say one, such as `every day at 20:00`",
    ),
    **dict.fromkeys(
        ("soon", "later", "sometime", "sometimes", "often", "about", "around", "approximately", "roughly", "few", "couple",
         "several", "some", "occasionally", "regularly", "asap"),
        "it is vague: say when, such as `in 20 minutes`",
    ),
    **dict.fromkeys(
        ("twice", "times", "thrice"), "it doesn't say at which times: name them, such as `every day at 8:00 and 20:00`"
    ),
    **dict.fromkeys(
        ("biweekly", "bimonthly", "semiweekly", "semimonthly", "biannually", "biennially"),
        "it means twice in it or every two of it: say `every 14 days` or name both days",
    ),
    **dict.fromkeys(("fortnight", "fortnights", "fortnightly"), "say `every 14 days`, or `in 14 days`"),
    **dict.fromkeys(
        ("quarter", "quarters", "quarterly"),
        "name the days, such as `every year on the 1st of January, April, July and October at 9`",
    ),
    **dict.fromkeys(
        ("workday", "workdays", "business", "working", "holiday", "holidays"),
        "holidays are not known here: `every weekday` is Monday to Friday",
    ),
    **dict.fromkeys(
        ("other", "alternate"), "every other one is counted from some beginning, which cron can't: say `every 14 days`"
    ),
    **dict.fromkeys(("except", "but", "excluding", "not"), "name the days that are meant, such as `every Monday to Saturday`"),
    **dict.fromkeys(
        ("starting", "since", "after", "before", "ending", "within", "during"),
        "a schedule has no beginning and no end here: make it and remove it when they come",
    ),
    **dict.fromkeys(
        ("utc", "gmt", "cet", "cest", "est", "edt", "pst", "pdt", "bst", "local"),
        "a zone is not part of the phrase: give it as `tz`, such as Europe/Berlin",
    ),
    **dict.fromkeys(("now", "immediately"), "hand the task in by itself, without a schedule"),
    **dict.fromkeys(("yesterday", "ago"), "that is past"),
    **dict.fromkeys(
        ("months", "years", "decade", "century"), "it has no one length: say days, weeks or a date, such as `24 December`"
    ),
    "o'clock": "leave it out: `at 8` is 8:00",
    **dict.fromkeys(("start", "beginning"), "say `the first day`"),
    "end": "say `the last day`",
}  # fmt: skip

ELSEWHERE = {
    **dict.fromkeys(
        ("morning", "afternoon", "evening"), "say the hour as well, such as `every day at 8 in the morning`"
    ),
    "half": "say the time in figures, such as `8:30`",
    "until": "a schedule has no end here: remove it when that comes",
    **dict.fromkeys(("week", "month", "year"), "say on which day, such as `next Friday` or `every month on the 15th`"),
}
"""Words that are understood, and what to say where they stand in a place of which they are not."""

_TOKEN = re.compile(
    r"""(?P<iso>\d{4}-\d{2}-\d{2})(?:t(?=\d))?
      | (?P<clock>\d{1,2}:\d{2}(?::\d{2})?)(?=\W|$|[ap]m\b)
      | (?P<past>:\d{2})\b
      | (?P<ordinal>\d+)(?:st|nd|rd|th)\b
      | (?P<number>\d+)(?![\d.:/]|,\d)
      | (?P<comma>[,&])
      | (?P<dash>-)
      | (?P<word>[^\W\d_]+(?:'[^\W\d_]+)?)
      | (?P<space>\s+)
      | (?P<other>\S+)
    """,
    re.VERBOSE,
)


_MERIDIEM = re.compile(r"\b([ap])\.m\b\.?")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number or sign: `kind` is the name of its group in the pattern, `text` is as it was written but lower case."""

    kind: str
    text: str


def refused(message: str) -> PhraseError:
    """Return the error of a text that is not understood."""
    return PhraseError(message)


def tokens(text: str) -> list[Token]:
    """Return the words, numbers and signs of a text.

    Raises:
        PhraseError: a word or a sign means nothing here; the message names it.
    """
    text = text.replace("\N{EN DASH}", "-").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    plain = _MERIDIEM.sub(r"\1m", text.strip().lower()).rstrip(".")
    found = [Token(str(match.lastgroup), match[0]) for match in _TOKEN.finditer(plain) if match.lastgroup != "space"]
    if not found:
        raise refused(f"nothing was said; say for example {EXAMPLES}")
    for token in found:
        _check(token)
    return found


def _check(token: Token) -> None:
    word = token.text
    if token.kind == "other":
        if "/" in word and any(character.isdigit() for character in word):
            raise refused(f"`{word}`: which is the day and which the month? write `24 December` or `2026-12-24`")
        raise refused(f"`{word}` is not understood; say for example {EXAMPLES}")
    if token.kind != "word" or _known(word):
        return
    if instead := _INSTEAD.get(word):
        raise refused(f"`{word}`: {instead}")
    raise refused(f"`{word}` is not a word of schedules; say for example {EXAMPLES}")


def _known(word: str) -> bool:
    tables = (WEEKDAY, MONTH, UNIT, NUMBER, ORDINAL, _STRUCTURE)
    return any(word in table for table in tables) or singular(word) in WEEKDAY


def singular(word: str) -> str:
    """Return the singular of a plural; of what is none, nothing."""
    return word[:-1] if word.endswith("s") else ""
