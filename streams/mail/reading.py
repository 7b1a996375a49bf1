"""What of a mail is read for its meaning: its subject, then what its sender wrote, without what was quoted.

The encoder reads a budget of tokens, and a mail says what it is at its beginning; lines that were answered to, and those
that a list or a program adds to every mail, would only take its place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.mail.message import Mail

URL = re.compile(r"(?:https?://|ftp://|www\.)[^\s<>\"')\]]{1,2000}", re.IGNORECASE)
REPLY = re.compile(
    r"\s{0,20}\b(?:re|aw|sv|antw|fwd?|wg|tr|rv|vs|res|ynt|odp)\s*(?:\[\d+\])?\s*[:\uff1a]\s*", re.IGNORECASE
)
"""What a client puts before the subject of an answer or a forwarded mail, in the languages that do not write `Re:`."""
LIST_TAG = re.compile(r"\[[^\]]{1,60}\]")
FOOTER = re.compile(
    r"^.{0,200}(?:mailing.list|list.?info|mailman|majordomo|sponsored by|yahoo!? ?groups|sourceforge|_{20}|-{30}).*$",
    re.IGNORECASE | re.MULTILINE,
)
"""Lines that a list adds to each mail that it carries, whoever wrote it."""
FREE_PROVIDER = re.compile(
    r"@(?:gmail|googlemail|hotmail|outlook|live|msn|yahoo|ymail|gmx|web|aol|icloud|me|proton|protonmail|orange|free|laposte"
    r"|wanadoo|libero|terra|uol|wp|onet|mail|email|yandex|qq|163|126|naver|excite|lycos|eudoramail|netscape|usa)"
    r"\.[a-z]{2,4}(?:\.[a-z]{2})?$",
    re.IGNORECASE,
)
_ATTRIBUTION = re.compile(
    r"^.{0,200}(?:wrote|writes|said|schrieb|écrit|escribió|ha scritto|escreveu|schreef|napisał\(a\)|skrev)\s?:\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_QUOTED = re.compile(r"^[>|].*$", re.MULTILINE)


def own_text(mail: Mail) -> str:
    """Return the text without quoted lines, the line that introduces them, and what a list added."""
    own = FOOTER.sub(" ", _ATTRIBUTION.sub(" ", _QUOTED.sub(" ", mail.text)))
    return own if own.strip() else mail.text


def passage(mail: Mail) -> str:
    """Return what the encoder is given: one line, without the addresses of links."""
    return " ".join(URL.sub(" ", f"{mail.subject}. {own_text(mail)}").split())
