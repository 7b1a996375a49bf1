"""From a raw mail to what a person would see of it, whatever its sender made of RFC 5322 and MIME.

The bytes are split into parts (`mime`), the parts read (`reader`), and the headers made text (`words`, `addresses`).
What had to be mended is named, as is what looks made to deceive; any bytes are a mail or a typed error, in time that
grows no faster than their length (`bounds`).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from streams.errors import PayloadError
from streams.mail.addresses import addresses, suspect_senders
from streams.mail.bounds import MAX_ADDRESSES, MAX_BYTES, MAX_HEADER, MAX_HEADERS, MAX_TEXT, Findings
from streams.mail.forwards import inline
from streams.mail.message import Mail
from streams.mail.mime import split
from streams.mail.plain import clean
from streams.mail.reader import Reader, charset_of, date_in, header_text
from streams.mail.words import line, text_of

if TYPE_CHECKING:
    from streams.mail.fields import Head

_ONCE = ("from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id")
"""Fields that may stand once (RFC 5322, section 3.6); programs differ in which of two they show."""
_FORWARDED_BY_HAND = frozenset({"no", ""})
_LITERAL = frozenset({"authentication-results"})
"""Fields that programs read: what looks like an encoded word in one is part of an address, and must not become syntax."""


def parse(raw: bytes, field: str = "raw") -> Mail:
    """Read a mail.

    Raises:
        PayloadError: `raw` is longer than `MAX_BYTES`, or no mail at all; it names `field`.
    """
    if len(raw) > MAX_BYTES:
        raise PayloadError(f"the mail is longer than {MAX_BYTES} bytes", field=field)
    findings = Findings()
    root = split(_normal(raw, findings), findings)
    head = root.head
    if not head.fields:
        raise PayloadError("this is no mail: no header was found; give the raw text of RFC 5322", field=field)
    for name in _ONCE:
        if head.count(name) > 1:
            findings.suspect(f"header {name}: more than one")
    reader = Reader(findings)
    text = clean(reader.read(root))[:MAX_TEXT]
    charset = charset_of(root)
    # Of two such fields a reader sees one, and a server may have vouched for the other.
    senders = tuple(
        sender for value in head.each("from") for sender in addresses(value, findings, "header from", charset)
    )[:MAX_ADDRESSES]
    suspect_senders(senders, findings)
    html = reader.html()
    if html.disguised:
        findings.suspect("html: a link shows another host than it leads to")
    return Mail(
        subject=header_text(root, "subject", findings),
        sender=header_text(root, "from", findings),
        date=date_in(root, findings),
        text=text,
        attachments=tuple(reader.attachments),
        senders=senders,
        to=addresses(head.first("to"), findings, "header to", charset),
        cc=addresses(head.first("cc"), findings, "header cc", charset),
        headers=_headers(head, charset),
        list_id=_list_id(head),
        has_unsubscribe=bool(head.count("list-unsubscribe") or head.count("list-unsubscribe-post")),
        auto_submitted=_auto_submitted(head),
        html=html,
        forwarded=reader.all_forwarded(inline(text)),
        signed=reader.signed,
        encrypted=reader.encrypted,
        mended=tuple(findings.mended),
        suspicious=tuple(findings.suspicious),
    )


def _normal(raw: bytes, findings: Findings) -> bytes:
    """Return a mail with line feeds for line ends, and without what is no part of it at its beginning."""
    for mark, charset in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if raw.startswith(mark):
            findings.mend("the mail came as UTF-16")
            raw = raw[len(mark) :].decode(charset, "replace").encode("utf-8", "replace")
    if raw.startswith(codecs.BOM_UTF8):
        findings.mend("a byte order mark came first")
        raw = raw[len(codecs.BOM_UTF8) :]
    raw = raw.replace(b"\r\n", b"\n")
    if b"\r" in raw:
        findings.mend("line ends: bare carriage returns")
        raw = raw.replace(b"\r", b"\n")
    # A mailbox file's `From ` line, or blank lines that a client put first, are no part of the mail.
    return re.sub(rb"\A(?:>?From [^\n]*+\n)?", b"", raw.lstrip())


def _headers(head: Head, charset: str | None) -> tuple[tuple[str, str], ...]:
    """Return the first headers; what had to be mended in them is told where they are read for what they mean."""
    unheard = Findings()
    return tuple(
        (name, line(value[:MAX_HEADER].decode("ascii", "replace"), unheard, name))
        if name in _LITERAL
        else (name, text_of(value[:MAX_HEADER], unheard, name, charset))
        for name, value in head.fields[:MAX_HEADERS]
    )


def _list_id(head: Head) -> str:
    """Return what stands in the angle brackets of `List-Id`, or all of it where there are none."""
    said = text_of(head.first("list-id")[:MAX_HEADER], Findings(), "list-id")
    inner = re.search(r"<([^<>]+)>", said)
    return line(inner[1] if inner else said, Findings(), "list-id").lower()


def _auto_submitted(head: Head) -> str:
    said = head.first("auto-submitted").partition(b";")[0][:MAX_HEADER].decode("ascii", "replace")
    keyword = line(said.partition("(")[0], Findings(), "auto-submitted").lower()
    return "" if keyword in _FORWARDED_BY_HAND else keyword
