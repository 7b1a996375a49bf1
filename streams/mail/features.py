"""The words and pairs of words that the spam head looks at.

Only what says something of mail in general: no addresses, host names, list names, dates or numbers, no lines that a list
added or that were quoted, and nothing of the way that a mail took. A corpus betrays its classes by those, and a figure
that rests on them would say little of tomorrow's mail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

from streams.mail.form import MONEY, PERCENT, form
from streams.mail.reading import LIST_TAG, REPLY, URL, own_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.mail.labels import Floats
    from streams.mail.message import Mail

MAX_WORDS = 1500
"""Words of the text that are looked at; with their pairs twice as many features."""
_LONGEST = 25
"""Letters of a word; what is longer is a code."""

_ADDRESS = re.compile(r"(?:mailto:)?[\w.+'%-]{1,64}@[\w.-]{1,253}", re.IGNORECASE)
_HOST = re.compile(
    r"\b(?:[\w-]{1,63}\.){1,5}(?:com|net|org|edu|gov|info|biz|ie|uk|de|fr|es|it|eu|us|ca|au|io)\b", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_][^\W_]*(?:['\u2019-][^\W_]+)*|[!?]{1,9}|[$%]")
_CALENDAR = re.compile(
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|satu?r?|sun)(?:day)?|am|pm|gmt|utc|bst|ist"
    r"|cest|[cemp][ds]?t"
)


@dataclass(frozen=True, slots=True)
class Features:
    """A mail as the spam head sees it.

    Attributes:
        words: its words and pairs, each once; those of the subject begin with `subject: `, those of the
            program that wrote it with `program: `.
        form: what `streams.mail.form.FORM` counts, each from 0 to 1, float32.
    """

    words: tuple[str, ...]
    form: Floats


def features(mail: Mail) -> Features:
    """Return what the spam head looks at in a mail."""
    subject = REPLY.sub("", LIST_TAG.sub(" ", mail.subject))
    words = dict.fromkeys(f"subject: {word}" for word in _with_pairs(_words(subject)))
    words |= dict.fromkeys(_with_pairs(_words(own_text(mail))))
    words |= dict.fromkeys(f"program: {word}" for word in _program(mail))
    return Features(tuple(words), form(mail))


def _program(mail: Mail) -> list[str]:
    """Return the words of the name of the program that wrote a mail."""
    headers = dict(mail.headers)
    return re.findall(r"[a-z]{2,25}", (headers.get("x-mailer") or headers.get("user-agent", ""))[:200].lower())


def key(word: str) -> int:
    """Return a word's 64-bit name, by which the head knows it."""
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _words(text: str) -> list[str]:
    """Return a text's words in lower case, with amounts, percentages and links put as a sign of their kind."""
    text = URL.sub(" url ", text)
    text = _HOST.sub(" ", _ADDRESS.sub(" ", text))
    text = PERCENT.sub(" % ", MONEY.sub(" $ ", text))
    found = (match.group().lower() for match in _WORD.finditer(text))
    return [word for word in found if len(word) <= _LONGEST and not _CALENDAR.fullmatch(word)][:MAX_WORDS]


def _with_pairs(words: list[str]) -> Iterator[str]:
    yield from words
    for first, second in pairwise(words):
        yield f"{first} {second}"
