"""What the spam head sees of a mail's form: how it is written, what it links to, and who says to have sent it.

Each is a number from 0 to 1 with a name in plain words. Two hosts are compared here and there (does a link lead to the
sender's own domain?), but no host is known by its name, but for the free providers that everybody knows. What a list
added is not looked at.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from streams.mail.reading import FOOTER, FREE_PROVIDER, LIST_TAG, REPLY, URL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.mail.labels import Floats
    from streams.mail.message import Mail

# Digits are taken all or not at all, and not without end: else a text of nothing but digits takes seconds.
MONEY = re.compile(r"[$€£¥]\s?\d[\d.,]*|\b\d[\d.,]{0,20}+\s?(?:€|usd|eur|gbp|dollars?|euros?)\b", re.IGNORECASE)
PERCENT = re.compile(r"\d\s?%")
_NUMBERED_HOST = re.compile(r"//\d{1,3}(?:\.\d{1,3}){3}|//\d{8,10}\b|//[^/\s]{0,200}[@%]")
_HOST = re.compile(r"(?:\w{1,10}://)?(?:[^/@\s]{0,200}@)?([^/?#:\s]{1,253})")
_MANGLED = re.compile(r"\b[a-z]+\d+[a-z]+\w*\b|\b(?:[A-Za-z] ){4}")
_CODE_AT_END = re.compile(r"\s[a-z0-9]{5,20}$|\d{4,}\S{0,20}$")
_CONSONANTS = re.compile(r"[^aeiouy\W\d_]{5,}")
_ADDRESS = re.compile(r"[\w.+=-]{1,64}@([\w.-]{1,253})")
_NAME = re.compile(r"[a-z]{4,}")
_WEEKDAY = re.compile(r"\s*(?:mon|tue|wed|thu|fri|sat|sun)", re.IGNORECASE)
_NO_ZONE = re.compile(r"[+-]0000|\bgmt\b|\but\b", re.IGNORECASE)
_MAX_LINKS = 50

FORM = (
    "a subject in capitals",
    "an exclamation mark in the subject",
    "a question as subject",
    "a subject that ends in a code",
    "words in capitals",
    "exclamation marks",
    "amounts of money",
    "percentages",
    "mangled words",
    "a very short text",
    "a very long text",
    "quoted lines",
    "only HTML",
    "declared as HTML",
    "the same in text and HTML",
    "several parts",
    "no declared type",
    "encoded as a whole",
    "pictures",
    "hidden text",
    "a form to fill in",
    "attachments",
    "marked as important",
    "says how important it is",
    "broken form",
    "made to deceive",
    "links",
    "links that say who follows them",
    "links that write a mail",
    "links to several places",
    "links to the sender's own domain",
    "no link to the sender's own domain",
    "links to a numbered or disguised host",
    "a sender without a name",
    "an address as the sender's name",
    "a sender in capitals",
    "a sender's name with odd signs",
    "digits in the sender's address",
    "a sender that can't be pronounced",
    "a sender at a free provider",
    "an identity of the sender's domain",
    "the sender's domain in the text",
    "the sender's name in a link",
    "answers go to the sender's own domain",
    "answers go to another domain",
    "an organisation that it names",
    "a mail program that it names",
    "a date without a weekday",
    "a date without the name of its zone",
    "a date in no zone",
    "an identity as an old Outlook makes it",
    "an identity of no domain",
    "a type without a version of MIME",
    "no recipient",
    "several recipients",
    "a recipient with a name",
    "the recipient's address in the text",
    "the recipient's address in the subject",
    "sent to its sender",
    "called an answer",
    "an answer to a mail that it names",
)
"""The names of the numbers, as a reason says them."""


def form(mail: Mail) -> Floats:
    """Return the numbers, in the order of `FORM`, float32 [len(FORM)]."""
    mail = replace(mail, text=FOOTER.sub(" ", mail.text))
    values = dict((*_writing(mail), *_making(mail), *_linking(mail), *_sending(mail), *_addressing(mail)))
    return np.array([values[name] for name in FORM], np.float32)


def _writing(mail: Mail) -> Iterator[tuple[str, float]]:
    text, subject = mail.text, REPLY.sub("", LIST_TAG.sub(" ", mail.subject))
    letters = sum(map(str.isalpha, text)) + 1
    words = re.findall(r"[^\W\d_]{3,}", text) or [""]
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    capitals = [letter.isupper() for letter in subject if letter.isalpha()]
    yield "a subject in capitals", sum(capitals) / len(capitals) if len(capitals) > 4 else 0.0
    yield "an exclamation mark in the subject", float("!" in subject)
    yield "a question as subject", float(subject.endswith("?"))
    yield "a subject that ends in a code", float(_CODE_AT_END.search(subject) is not None)
    yield "words in capitals", sum(map(str.isupper, words)) / len(words)
    yield "exclamation marks", squeezed(1000 * text.count("!") / (letters + 200), 5)
    yield "amounts of money", squeezed(len(MONEY.findall(text)), 3)
    yield "percentages", squeezed(len(PERCENT.findall(text)), 3)
    yield "mangled words", squeezed(len(_MANGLED.findall(text)), 2)
    yield "a very short text", 1 - squeezed(letters, 200)
    yield "a very long text", squeezed(letters, 5000)
    yield "quoted lines", sum(line.startswith((">", "|")) for line in lines) / len(lines)


def _making(mail: Mail) -> Iterator[tuple[str, float]]:
    headers = dict(mail.headers)
    made = headers.get("content-type", "").lower()
    yield "only HTML", float(mail.html.only)
    yield "declared as HTML", float(made.startswith("text/html"))
    yield "the same in text and HTML", float(made.startswith("multipart/alternative"))
    yield "several parts", float(made.startswith("multipart/mixed"))
    yield "no declared type", float(not made)
    yield "encoded as a whole", float("base64" in headers.get("content-transfer-encoding", "").lower())
    yield "pictures", squeezed(mail.html.images, 5)
    yield "hidden text", squeezed(mail.html.hidden, 200)
    yield "a form to fill in", squeezed(mail.html.forms, 1)
    yield "attachments", squeezed(len(mail.attachments), 1)
    yield "marked as important", float(headers.get("x-priority", "3")[:1] in {"1", "2"})
    yield "says how important it is", float("x-priority" in headers)
    yield "broken form", float(bool(mail.mended))
    yield "made to deceive", float(bool(mail.suspicious))


def _linking(mail: Mail) -> Iterator[tuple[str, float]]:
    targets, texts = mail.html.targets, URL.findall(mail.text)[:_MAX_LINKS]
    own = _organisation(_domain(mail))
    web = [target for target in targets if target.startswith("http")] + texts
    hosts = [_organisation(match.group(1)) for match in map(_HOST.match, web) if match]
    at_home = sum(host == own for host in hosts)
    yield "links", squeezed(max(mail.html.links, len(texts)), 5)
    yield "links that say who follows them", squeezed(sum("?" in target for target in targets), 3)
    yield "links that write a mail", squeezed(sum(target.startswith("mailto:") for target in targets), 1)
    yield "links to several places", squeezed(max(0, len(set(hosts)) - 1), 3)
    yield "links to the sender's own domain", at_home / len(hosts) if hosts else 0.0
    yield "no link to the sender's own domain", float(bool(hosts) and not at_home)
    yield (
        "links to a numbered or disguised host",
        squeezed(mail.html.disguised + len(_NUMBERED_HOST.findall(" ".join((*texts, *targets)))), 1),
    )


def _sending(mail: Mail) -> Iterator[tuple[str, float]]:
    headers = dict(mail.headers)
    name = mail.senders[0].name if mail.senders else ""
    address = mail.senders[0].address.lower() if mail.senders else ""
    local, domain = address.rpartition("@")[0], _domain(mail)
    own, identity = _organisation(domain), headers.get("message-id", "").lower()
    yield "a sender without a name", float(not name)
    yield "an address as the sender's name", float("@" in name)
    yield "a sender in capitals", float(name.isupper() and len(name) > 3)
    yield "a sender's name with odd signs", float(re.search(r"[^\w\s.,\"'()-]", name) is not None)
    yield "digits in the sender's address", min(1.0, sum(map(str.isdigit, local)) / 4)
    yield "a sender that can't be pronounced", float(_CONSONANTS.search(local) is not None)
    yield "a sender at a free provider", float(FREE_PROVIDER.search(f"@{domain}") is not None)
    yield "an identity of the sender's domain", float(bool(own) and own in identity)
    yield (
        "the sender's domain in the text",
        float(len(own.split(".")[0]) > 3 and own.split(".")[0] in mail.text.lower()),
    )
    yield (
        "the sender's name in a link",
        float(any(word in _hosts_written(mail) for word in _NAME.findall(name.lower()))),
    )
    answers = _ADDRESS.search(headers.get("reply-to", ""))
    at_home = answers is not None and _organisation(answers.group(1)) == own
    yield "answers go to the sender's own domain", float(at_home)
    yield "answers go to another domain", float(answers is not None and not at_home)
    yield "an organisation that it names", float("organization" in headers)
    yield "a mail program that it names", float("x-mailer" in headers or "user-agent" in headers)
    date, (local_identity, _, home) = headers.get("date", ""), identity.strip("<> ").partition("@")
    yield "a date without a weekday", float(bool(date) and not _WEEKDAY.match(date))
    yield "a date without the name of its zone", float(bool(date) and "(" not in date)
    yield "a date in no zone", float(_NO_ZONE.search(date) is not None)
    yield "an identity as an old Outlook makes it", float("$" in local_identity)
    yield "an identity of no domain", float("." not in home)
    yield "a type without a version of MIME", float("content-type" in headers and "mime-version" not in headers)


def _addressing(mail: Mail) -> Iterator[tuple[str, float]]:
    headers, text, subject = dict(mail.headers), mail.text.lower(), mail.subject.lower()
    sender = mail.senders[0].address.lower() if mail.senders else ""
    addresses = [person.address.lower() for person in mail.to]
    yield "no recipient", float(not mail.to and not mail.cc)
    yield "several recipients", min(1.0, len(mail.to) / 5)
    yield "a recipient with a name", float(any(person.name for person in mail.to))
    yield "the recipient's address in the text", float(any(address in text for address in addresses if "@" in address))
    locals_ = (address.partition("@")[0] for address in addresses)
    yield "the recipient's address in the subject", float(any(own in subject for own in locals_ if len(own) > 3))
    yield "sent to its sender", float(addresses == [sender])
    yield "called an answer", float(REPLY.match(LIST_TAG.sub(" ", mail.subject)) is not None)
    yield "an answer to a mail that it names", float("in-reply-to" in headers or "references" in headers)


def _hosts_written(mail: Mail) -> str:
    """Return the targets of all links and the beginnings of those in the text, in lower case."""
    return " ".join((*mail.html.targets, *URL.findall(mail.text)[:_MAX_LINKS])).lower()


def _domain(mail: Mail) -> str:
    return mail.senders[0].domain if mail.senders else ""


def _organisation(host: str) -> str:
    """Return the part of a host that somebody registered, as far as it can be told without a list of suffixes."""
    labels = host.lower().strip(".").split(".")
    under_country = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if under_country else labels[-2:])


def squeezed(count: float, middle: float) -> float:
    """Return 0 for nothing, a half for `middle`, near 1 for very many."""
    return 1 - math.exp(-count * math.log(2) / middle)
