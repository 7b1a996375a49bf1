"""Mails that stand inline in a text, below the lines that a mail program puts over what it forwards or answers.

What marks them is the block of `From:`, `Sent:`, `Subject:` lines, in the languages of the common programs; the line of
dashes over it says the same less surely.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from streams.mail.bounds import MAX_FORWARDED, MAX_FORWARDED_TEXT, MAX_HEADER
from streams.mail.message import Forwarded

if TYPE_CHECKING:
    from collections.abc import Iterator

_LABELS = {
    "from": "from von de da van från fra od от lähettäjä kimden gönderen feladó expéditeur remitente mittente "
    "发件人 寄件者 差出人 보낸사람 από מאת من",
    "date": "date sent datum gesendet envoyé enviado enviada fecha data inviato verzonden skickat sendt wysłano odesláno "
    "дата отправлено lähetetty päivä tarih gönderildi dátum dato 发送时间 日期 寄件日期 送信日時 日時 날짜 보낸날짜 ημερομηνία",
    "subject": "subject betreff objet asunto oggetto onderwerp ämne emne temat předmět тема aihe konu tárgy assunto "
    "主题 主旨 件名 제목 θέμα נושא الموضوع",
    "to": "to an à para a aan till til do komu кому vastaanottaja kime címzett 收件人 宛先 받는사람 προς אל إلى",
    "cc": "cc kopie copie копия kopia kopi 抄送 참조",
}
_MEANS = {label: meaning for meaning, labels in _LABELS.items() for label in labels.split()}
_LINE = re.compile(
    r"^[>\s*]{0,20}([^\W\d_](?:[^\W\d_]|[ .]){0,20}?)[ \u00a0]{0,2}\*?[ \u00a0]{0,2}[:\uff1a]\*?[ \t\u00a0]*(.*)$"
)
_MOST_BLANK = 2
_LONGEST_DATE = 100
_MOST_HEAD = 12
_QUOTED = re.compile(r"^>+ ?", re.MULTILINE)


class _Block(NamedTuple):
    """The head of an inline mail: the line where it begins, the line after it, and what it says."""

    start: int
    end: int
    said: dict[str, str]


def inline(text: str) -> list[Forwarded]:
    """Return the mails that stand in a text, in their order, each with the text up to the next."""
    lines = text.split("\n")
    blocks = list(_blocks(lines))[:MAX_FORWARDED]
    ends = [block.start for block in blocks[1:]] + [len(lines)] * bool(blocks)
    return [
        Forwarded(
            subject=block.said.get("subject", "")[:MAX_HEADER],
            sender=block.said["from"][:MAX_HEADER],
            date=date_of(block.said.get("date", "")),
            text=_unquoted("\n".join(lines[block.end : end]))[:MAX_FORWARDED_TEXT],
        )
        for block, end in zip(blocks, ends, strict=True)
    ]


def date_of(said: str) -> datetime | None:
    """Return a date as headers write it (aware; UTC where no zone is named), or None."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        # The first of them raises all kinds of things on what it can't read; a zone may push a date near the calendar's
        # ends over them, and what can't be told in UTC is no date.
        with suppress(ValueError, TypeError, IndexError, AttributeError, OverflowError):
            date = read(said[:_LONGEST_DATE].strip())
            date.astimezone(UTC)
            return date if date.tzinfo else date.replace(tzinfo=UTC)
    return None


def _blocks(lines: list[str]) -> Iterator[_Block]:
    at = 0
    while at < len(lines):
        block = _block(lines, at)
        if block is None:
            at += 1
        else:
            yield block
            at = block.end


def _block(lines: list[str], start: int) -> _Block | None:
    """Return the head that begins at a line: a sender, and a date or a subject, close together."""
    if _label(lines[start]) is None:
        return None
    said: dict[str, str] = {}
    at, blank = start, 0
    while at < min(len(lines), start + _MOST_HEAD):
        found = _label(lines[at])
        if found is not None and found[0] not in said:
            said[found[0]] = found[1]
            blank = 0
        elif not lines[at].strip("> \t\u00a0") and blank < _MOST_BLANK and len(said) < 2:
            blank += 1  # some programs leave lines between the labels
        else:
            break
        at += 1
    if "from" in said and len(said) >= 2 and ("date" in said or "subject" in said):
        return _Block(start, at, said)
    return None


def _label(line: str) -> tuple[str, str] | None:
    """Return what a line's label means and what it says, or None where it has no label of a mail's head."""
    found = _LINE.match(line[:MAX_HEADER])
    meaning = _MEANS.get("".join(found[1].lower().split())) if found else None
    return (meaning, " ".join(found[2].split()).strip("* ")) if found and meaning else None


def _unquoted(text: str) -> str:
    said = [line for line in text.split("\n") if line.strip()]
    quoted = sum(line.startswith(">") for line in said)
    return (_QUOTED.sub("", text) if said and quoted == len(said) else text).strip()
