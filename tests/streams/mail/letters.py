"""Mails that tests make up."""

from __future__ import annotations

import io
import random
import tarfile
from typing import TYPE_CHECKING

from streams.mail.corpus import Sample
from streams.mail.parse import parse

if TYPE_CHECKING:
    from pathlib import Path

    from streams.mail.message import Mail


def letter(subject: str, text: str, sender: str = "Lea <lea@example.com>", headers: str = "") -> str:
    return f"{headers}From: {sender}\r\nTo: nadia@example.com\r\nSubject: {subject}\r\n\r\n{text}\r\n"


def mail(
    subject: str = "Hello", text: str = "How are you?", sender: str = "Lea <lea@example.com>", headers: str = ""
) -> Mail:
    return parse(letter(subject, text, sender, headers).encode())


CLUB = letter(
    "Rowing on Thursday",
    "The boats go out on Thursday at six. Please say whether you row, so that we know how many oars to bring.",
)
CLUB_AGAIN = letter(
    "Rowing on Saturday",
    "The boats go out on Saturday at nine. Please say whether you row, so that we know how many oars to bring.",
)
BOOKING = letter(
    "Your flight to Lisbon is confirmed",
    "Booking reference X7K2PQ. Departure Monday 10:40 from Gatwick, arrival in Lisbon 13:20. Check-in online is open.",
    "Airline <noreply@airline.example>",
)

_BOTH = "the a of and to in is you we for on that it this with have are from can about some very"
_HAM = "meeting kernel patch compile dinner cousin garden weather lecture debian football paper draft"
_SPAM = "winner lottery pills mortgage casino guaranteed refinance million unlimited prize cheap bonus"


def samples(count: int, seed: int = 0) -> list[Sample]:
    """A corpus of as much spam as ham; what tells them apart are some words, and one in ten has those of the other."""
    draw, both = random.Random(seed), _BOTH.split()
    made = []
    for number in range(count):
        spam = number % 2 == 1
        group = ("spam-1", "spam-2") if spam else ("easy-ham-1", "hard-ham-1")
        telling = (_SPAM if spam != (draw.random() < 0.1) else _HAM).split()
        words = [draw.choice(telling if draw.random() < 0.3 else both) for _ in range(40)]
        subject = " ".join(draw.choices(telling + both, k=4))
        sender = f"Person <person{number}@example.org>"
        raw = letter(subject, " ".join(words), sender).encode()
        made.append(Sample(f"{group[number // 2 % 2]}/{number:05}", group[number // 2 % 2], spam, raw))
    return sorted(made, key=lambda sample: sample.name)


def packed(file: Path, some: list[Sample]) -> Path:
    """A tarball in the layout of the corpus' package."""
    with tarfile.open(file, "w:gz") as archive:
        others = {
            "package/package.json": b"{}",
            "package/data/easy-ham-1/cmds": b"",
            "package/data/other/1.txt": b"From: x\n\nx",
        }
        members = {f"package/data/{one.group}/{one.name.rpartition('/')[2]}.txt": one.raw for one in some} | others
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file
