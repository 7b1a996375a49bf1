"""Walks a mail's parts and gathers what they say: text, files, inner mails, and how the whole is made.

Of alternatives the plain one is read, unless it says nothing, or nothing but that the mail is HTML. What a part can't
say as text becomes an attachment with a name, a type and a size.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from streams.charset import decode
from streams.mail import invitation, markup, rtf, smime, tnef
from streams.mail.bounds import (
    MAX_ATTACHMENTS,
    MAX_DEPTH,
    MAX_FORWARDED,
    MAX_FORWARDED_TEXT,
    MAX_LINKS,
    MAX_SOURCE,
    MAX_TEXT,
)
from streams.mail.fields import declared
from streams.mail.forwards import date_of
from streams.mail.message import Attachment, Forwarded, Html
from streams.mail.mime import split
from streams.mail.plain import clean, uncovered, unflowed, without_armor
from streams.mail.roles import Role, file_name, role
from streams.mail.transfer import decoded, encoding_of, note_unknown, size_of
from streams.mail.words import text_of

if TYPE_CHECKING:
    from datetime import datetime

    from streams.mail.bounds import Findings
    from streams.mail.mime import Part

_ONLY_HTML = re.compile(
    r"(?=.*\bhtml\b)(?=.*(?:view|display|support|client|browser|anzeig|afficher|visualiza))", re.IGNORECASE | re.DOTALL
)
_LONGEST_EXCUSE = 400

Source = TypeVar("Source", str, bytes)


class _Said(NamedTuple):
    """What a part says, whether as HTML, and whether beside what its alternatives say."""

    text: str
    as_html: bool = False
    beside: bool = False


class Reader:
    """Reads one mail.

    Attributes:
        attachments: the files found so far.
        signed: `pgp`, `smime` or nothing.
        encrypted: `pgp`, `smime` or nothing.
    """

    def __init__(self, findings: Findings) -> None:
        self.attachments: list[Attachment] = []
        self.signed = ""
        self.encrypted = ""
        self._findings = findings
        self._forwarded: list[Forwarded | None] = []
        self._seen = markup.Seen()
        self._plain = False
        self._html = False

    def read(self, root: Part) -> str:
        """Return the readable text of a mail."""
        return self._part(root).text

    def html(self) -> Html:
        """Return what the HTML showed that was read."""
        seen = self._seen
        return Html(
            only=self._html and not self._plain,
            links=seen.links,
            targets=tuple(seen.targets[:MAX_LINKS]),
            disguised=seen.disguised,
            images=seen.images,
            hidden=seen.hidden,
            forms=seen.forms,
        )

    def all_forwarded(self, inline: list[Forwarded]) -> tuple[Forwarded, ...]:
        """Return the mails that were attached, then those that stand inline and are not the same."""
        attached = [mail for mail in self._forwarded if mail]
        known = {(mail.subject, mail.sender) for mail in attached}
        return tuple(
            [*attached, *(mail for mail in inline if (mail.subject, mail.sender) not in known)][:MAX_FORWARDED]
        )

    def _part(self, part: Part) -> _Said:
        if part.is_multipart and part.children:
            return self._multipart(part)
        if part.is_mail and part.children:
            return self._mail(part.children[0])
        return self._leaf(part)

    def _multipart(self, part: Part) -> _Said:
        protocol = part.parameters.get("protocol", "").lower()
        if part.type == "multipart/encrypted":
            self.encrypted = "pgp" if "pgp" in protocol or not protocol else "smime"
        elif part.type == "multipart/signed":
            self.signed = "smime" if "pkcs7" in protocol else "pgp"
        said = [self._part(child) for child in part.children]
        if part.type == "multipart/alternative":
            return _alternative(said)
        texts = [one.text for one in said if one.text]
        return _Said("\n\n".join(texts), as_html=bool(texts) and all(one.as_html for one in said if one.text))

    def _mail(self, inner: Part) -> _Said:
        if len(self._forwarded) == MAX_FORWARDED:
            return self._part(inner)
        place = len(self._forwarded)
        self._forwarded.append(None)  # the outer mail comes before what it holds
        said = self._part(inner)
        self._forwarded[place] = Forwarded(
            subject=header_text(inner, "subject", self._findings),
            sender=header_text(inner, "from", self._findings),
            date=date_in(inner, self._findings),
            text=clean(said.text)[:MAX_FORWARDED_TEXT],
        )
        return said

    def _leaf(self, part: Part) -> _Said:
        note_unknown(part.head, self._findings)
        disposition = declared(part.head.first("content-disposition"), self._findings, "header content-disposition")
        name = disposition.parameters.get("filename") or part.parameters.get("name", "")
        match role(part, name, attached=disposition.value == "attachment"):
            case Role.WORDS:
                return self._words(part)
            case Role.MARKUP:
                return self._markup(self._source(part))
            case Role.REPORT:
                return _Said(clean(self._source(part)))
            case Role.INVITATION:
                return _Said(clean(invitation.gist(self._source(part, "utf-8"))), beside=True)
            case Role.CMS | Role.WINMAIL as wrapping:
                return (self._cms if wrapping is Role.CMS else self._winmail)(part, name)
            case Role.SIGNATURE:
                self.signed = self.signed or ("pgp" if "pgp" in part.type else "smime")
            case Role.FILE:
                self._attach(name, part.type, size_of(part.raw[part.start : part.end], encoding_of(part.head)))
        return _Said("")

    def _attach(self, name: str, kind: str, size: int) -> None:
        if len(self.attachments) == MAX_ATTACHMENTS:
            self._findings.mend(f"attachments: only {MAX_ATTACHMENTS} are named")
            return
        self.attachments.append(Attachment(file_name(name, self._findings) or kind, kind, size))

    def _source(self, part: Part, extra: str | None = None) -> str:
        """Return a part's body as text, as far as the mail may still be read."""
        data = decoded(
            part.raw[part.start : part.end], encoding_of(part.head), self._findings, most=min(MAX_SOURCE, self._left)
        )
        return self._text(data, part.parameters.get("charset") or extra)

    @property
    def _left(self) -> int:
        return max(0, self._findings.sources)

    def _text(self, data: bytes, charset: str | None) -> str:
        data = data[: min(4 * MAX_SOURCE, 4 * self._left)]
        said = decode(data, [charset], guess=self._findings.guesses > 0)
        self._findings.guesses -= not said.as_declared and said.charset not in {"utf-8", "cp1252"}
        if not said.as_declared or (charset is None and not data.isascii()):
            self._findings.mend(f"charset: read as {said.charset}")
        return self._spent(said.text[:MAX_SOURCE])

    def _spent(self, source: Source) -> Source:
        """Return what is about to be read, counted as read."""
        self._findings.sources -= len(source)
        return source

    def _words(self, part: Part) -> _Said:
        body = decoded(
            part.raw[part.start : part.end], encoding_of(part.head), self._findings, most=min(MAX_SOURCE, self._left)
        )
        found = uncovered(body, self._findings)
        for name, size in found.files:
            self._attach(text_of(name, self._findings, "attachment name"), "application/octet-stream", size)
        text = clean(self._text(found.text, part.parameters.get("charset")))
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflowed(text, delete_space=part.parameters.get("delsp", "").lower() == "yes")
        opened = without_armor(text)
        self.signed = self.signed or "pgp" * opened.signed
        self.encrypted = self.encrypted or "pgp" * opened.encrypted
        self._plain = self._plain or (bool(opened.text) and not _is_excuse(opened.text))
        return _Said(opened.text[:MAX_TEXT])

    def _markup(self, source: str) -> _Said:
        seen, all_seen = markup.read(source), self._seen
        for count in ("links", "disguised", "images", "hidden", "forms"):
            setattr(all_seen, count, getattr(all_seen, count) + getattr(seen, count))
        all_seen.targets += seen.targets[: MAX_LINKS - len(all_seen.targets)]
        self._html = self._html or bool(seen.text or seen.images)
        return _Said(clean(seen.text)[:MAX_TEXT], as_html=True)

    def _cms(self, part: Part, name: str) -> _Said:
        """Read what an opaque signature signs, and name what is encrypted."""
        data = decoded(part.raw[part.start : part.end], encoding_of(part.head), self._findings)
        try:
            signed = smime.signed_content(data)
        except smime.BrokenError:
            if smime.is_enveloped(data) or part.parameters.get("smime-type", "").startswith(("enveloped", "authenv")):
                self.encrypted = self.encrypted or "smime"
            self._attach(name, part.type, len(data))
            return _Said("")
        self.signed = self.signed or "smime"
        if self._findings.parts <= 0 or part.depth >= MAX_DEPTH:
            return _Said("")
        return self._part(split(signed.replace(b"\r\n", b"\n"), self._findings, part.depth + 1))

    def _winmail(self, part: Part, name: str) -> _Said:
        """Read Outlook's own wrapping; its text only where the mail has no other."""
        data = decoded(part.raw[part.start : part.end], encoding_of(part.head), self._findings)
        if not data.startswith(tnef.SIGNATURE):
            self._attach(name, part.type, len(data))
            return _Said("")
        found = tnef.read(data)
        self._findings.mend("winmail.dat: unpacked" if found.complete else "winmail.dat: damaged, unpacked in part")
        for file in found.files:
            self._attach(file.name, file.type.lower() or "application/octet-stream", file.size)
        if self._plain or self._html:
            return _Said("")
        text = found.text or rtf.text_of(self._spent(rtf.decompressed(found.rtf, min(MAX_SOURCE, self._left))))
        if not text and found.html:
            return self._markup(self._spent(found.html[: min(MAX_SOURCE, self._left)]))
        self._plain = bool(text)
        return _Said(clean(text)[:MAX_TEXT])


def charset_of(mail: Part) -> str | None:
    """Return the charset of a mail's first text, in which its program may have written the headers as well."""
    while mail.children:
        mail = mail.children[0]
    return mail.parameters.get("charset")


def header_text(mail: Part, name: str, findings: Findings) -> str:
    """Return a header of a mail as text, or nothing where there is none."""
    return text_of(mail.head.first(name), findings, f"header {name}", charset_of(mail))


def date_in(mail: Part, findings: Findings) -> datetime | None:
    """Return when a mail says it was sent."""
    said = header_text(mail, "date", findings)
    date = date_of(said)
    if said and date is None:
        findings.mend("header date: malformed")
    return date


def _alternative(said: list[_Said]) -> _Said:
    """Return of alternatives, which say the same, the plainest that says it (RFC 2046, section 5.1.4)."""
    plain = next((one for one in said if one.text and not one.as_html and not one.beside), _Said(""))
    rich = next((one for one in said if one.text and one.as_html), _Said("", as_html=True))
    chosen = rich if not plain.text or (len(rich.text) > len(plain.text) and _is_excuse(plain.text)) else plain
    beside = [one.text for one in said if one.beside]
    return _Said("\n\n".join(filter(None, [chosen.text, *beside])), as_html=chosen.as_html)


def _is_excuse(text: str) -> bool:
    """Whether a text says nothing but that the mail is HTML."""
    return len(text) < _LONGEST_EXCUSE and bool(_ONLY_HTML.search(text))
