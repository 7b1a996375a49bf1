"""What a mail's form and its known phrases say of its category and urgency, as fixed additions to their logits.

These are priors, written down beforehand and fitted to nothing: a list header makes a newsletter likelier, a booking
number a journey. They stand beside the encoder's nearness, which they can tilt and not overrule where it is clear.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.mail.phrases import found, phrases
from streams.mail.reading import FREE_PROVIDER, LIST_TAG, REPLY, own_text
from streams.mail.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.mail.message import Mail

MAX_READ = 4000
"""Characters of the text in which phrases are looked for."""
_PHRASE = 1.0
"""What the first phrase of a label adds; each further one adds half of the one before."""

_AUTOMATIC_SENDER = re.compile(
    r"(?:no|do.?not|donot|keine?|ne|nao|non)[-_.]?(?:reply|responder|antwort|antworten|repondre|responda|rispondere)"
    r"|^(?:notif|alert|automat|system|mailer|robot|bot|info|news|billing|invoice|receipt|security|account|service)",
    re.IGNORECASE,
)
_BULK_SENDER = re.compile(
    r"news|letter|digest|marketing|mailing|campaign|offers|redaktion|boletin|rundbrief", re.IGNORECASE
)
_SUPPORT_SENDER = re.compile(r"support|help|service.?desk|care|kundenservice|soporte|assist|ticket", re.IGNORECASE)
_MONEY = re.compile(
    r"[$€£¥₹₩]\s?\d|\b\d[\d.,' ]{0,20}+\s?(?:€|£|zł|kr\b|₽|円|元|usd|eur|gbp|chf|sek|pln|brl|r\$)", re.IGNORECASE
)
_TICKET = re.compile(
    r"\b(?:ticket|case|request|ref|incident|anfrage|vorgang|dossier|incidencia|chamado)\W{0,3}(?:#|nr\.?|no\.?|n°)?\s?\d{3,}|\[#?[A-Z]{0,6}-?\d{4,}\]",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?<![\d.,/-])\d{3}[ -]?\d{3}(?![.,/-]?\d)|\b[A-Z]{1,2}-\d{6}\b")
_JOURNEY = re.compile(
    r"\b[A-Z]{3}\s?(?:→|->|\u2013|-|>)\s?[A-Z]{3}\b|\b(?:[A-Z]{2}\s?\d{3,4}|IC[E]?\s?\d{2,4}|TGV\s?\d{4})\b"
)
_INVOICE_FILE = re.compile(
    r"invoice|receipt|bill|statement|rechnung|quittung|facture|recu|factura|recibo|fattura|fatura|factuur|faktura|请求|請求|发票",
    re.IGNORECASE,
)
_TRAVEL_FILE = re.compile(r"boarding|ticket|itinerar|reserv|booking|bordkarte|billet|\.pkpass$", re.IGNORECASE)
_INVITATION = re.compile(r"\.ics$|invite", re.IGNORECASE)
Logits = dict[str, float]


@dataclass(slots=True)
class Evidence:
    """What speaks for labels: the sum for each, and what it is made of.

    Attributes:
        logits: what is added to each label's logit; a label that is absent gets nothing.
        reasons: for each label, what was seen and what it added.
    """

    logits: Logits = field(default_factory=lambda: defaultdict(float))
    reasons: dict[str, list[Reason]] = field(default_factory=lambda: defaultdict(list))

    def add(self, seen: str, weights: Mapping[str, float]) -> None:
        """Count something that was seen in a mail."""
        for label, weight in weights.items():
            self.logits[label] += weight
            self.reasons[label].append(Reason(seen, weight))

    def add_signs(self, seen: set[str], table: Mapping[str, Mapping[str, float]]) -> None:
        """Count those signs that a table gives a weight, in its order."""
        for sign, weights in table.items():
            if sign in seen:
                self.add(sign, weights)

    def add_phrases(self, label: str, some: Iterable[str]) -> None:
        """Count phrases, each for half as much as the one before: ten of them are no ten independent witnesses."""
        for place, phrase in enumerate(some):
            self.add(phrase, {label: _PHRASE / 2**place})


def for_categories(mail: Mail) -> Evidence:
    """Return what speaks for each of the built-in categories."""
    evidence = Evidence()
    subject, text = _lowered(mail)
    for label, some in phrases("category").items():
        evidence.add_phrases(label, _subject_first(some, subject, text))
    evidence.add_signs(signs(mail), _CATEGORY_SIGNS)
    return evidence


def for_urgency(mail: Mail, *, is_spam: bool) -> Evidence:
    """Return what speaks for each urgency of a mail that was called spam, or was not."""
    evidence = Evidence()
    subject, text = _lowered(mail)
    for label, some in phrases("urgency").items():
        evidence.add_phrases(label, _subject_first(some, subject, text))
    evidence.add_signs(signs(mail), _URGENCY_SIGNS)
    if is_spam:
        # It is the spammer's hurry, not the reader's.
        evidence.add("spam", {"low": 3.0})
    if not evidence.logits:
        evidence.add("nothing that presses or can wait", {"normal": 1.0, "high": -0.5})
    return evidence


_CATEGORY_SIGNS: dict[str, dict[str, float]] = {
    "a list or a way to unsubscribe": {"newsletter": 1.5, "notification": 0.3, "personal": -2.0, "work": -0.7},
    "a sender of bulk mail": {"newsletter": 1.0, "personal": -1.0},
    "an automatic sender": {
        "notification": 1.0, "security": 0.5, "invoice": 0.4, "travel": 0.4, "support": -0.3, "personal": -2.5, "work": -1.0,
    },
    "a support desk's address": {"support": 1.2, "personal": -1.0},
    "a ticket's number": {"support": 1.2},
    "an amount of money": {"invoice": 0.5},
    "a one-time code": {"security": 0.6},
    "a flight, a train or airports": {"travel": 1.0},
    "a file named like an invoice": {"invoice": 1.5},
    "a file named like a ticket": {"travel": 1.5},
    "an invitation to an appointment": {"work": 0.8},
    "an answer": {"personal": 0.4, "work": 0.5, "support": 0.3, "newsletter": -1.5, "notification": -0.7},
    "a person's address at a free provider": {"personal": 0.8, "notification": -1.0, "newsletter": -1.0, "invoice": -0.5},
    "several recipients by name": {"work": 0.7},
    "many links and pictures": {"newsletter": 0.7, "personal": -1.0},
}  # fmt: skip

_URGENCY_SIGNS: dict[str, dict[str, float]] = {
    "marked as important by its sender": {"high": 1.5},
    "marked as unimportant by its sender": {"low": 1.5},
    "a list or a way to unsubscribe": {"low": 1.5},
    "a sender of bulk mail": {"low": 0.7},
    "many links and pictures": {"low": 0.5},
    "a one-time code": {"high": 0.5},
}


def signs(mail: Mail) -> set[str]:
    """Return what is seen in a mail's form."""
    headers = dict(mail.headers)
    address = mail.senders[0].address if mail.senders else mail.sender
    names = " ".join(file.name for file in mail.attachments)
    text = f"{mail.subject}\n{mail.text[:MAX_READ]}"
    priority = f"{headers.get('importance', '')} {headers.get('priority', '')} {headers.get('x-priority', '')}".lower()
    bulk = bool(mail.list_id) or mail.has_unsubscribe
    automatic = bool(_AUTOMATIC_SENDER.search(address)) or mail.auto_submitted not in {"", "no"}
    by_sign = {
        "a list or a way to unsubscribe": bulk,
        "a sender of bulk mail": _BULK_SENDER.search(address),
        "an automatic sender": automatic,
        "a support desk's address": _SUPPORT_SENDER.search(address),
        "a ticket's number": _TICKET.search(text),
        "an amount of money": _MONEY.search(text),
        "a one-time code": _CODE.search(mail.subject) or (len(mail.text) < 1500 and _CODE.search(mail.text)),
        "a flight, a train or airports": _JOURNEY.search(text),
        "a file named like an invoice": _INVOICE_FILE.search(names),
        "a file named like a ticket": _TRAVEL_FILE.search(names),
        "an invitation to an appointment": _INVITATION.search(names),
        "an answer": REPLY.match(LIST_TAG.sub(" ", mail.subject)),
        "a person's address at a free provider": FREE_PROVIDER.search(address) and not bulk and not automatic,
        "several recipients by name": not bulk and len(mail.to) + len(mail.cc) > 1,
        "many links and pictures": mail.html.links > 8 and mail.html.images > 2,
        "marked as important by its sender": re.search(r"high|(?<!non-)urgent|\b[12]\b", priority),
        "marked as unimportant by its sender": re.search(r"low|non-urgent|\b[45]\b", priority),
    }
    return {sign for sign, seen in by_sign.items() if seen}


def _lowered(mail: Mail) -> tuple[str, str]:
    return mail.subject.lower(), own_text(mail)[:MAX_READ].lower()


def _subject_first(some: Iterable[str], subject: str, text: str) -> list[str]:
    """Return the phrases that were found, those of the subject first and, as it says most, counted again."""
    in_subject = found(subject, some)
    return in_subject + found(text, some)
