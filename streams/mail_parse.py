"""From a raw mail to its subject, sender, date and readable text, whatever its sender made of RFC 5322 and MIME.

By the standard library's parser with its `default` policy, and around it a fallback for each thing that strangers get
wrong. What had to be mended is named. Lines, parts, depth, headers and text are bounded before the standard library,
whose time grows with the square of some of them, sees them: a mail made to hurt costs seconds, not hours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import MessageError
from email.policy import EmailPolicy
from email.policy import default as policy
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from streams.charset import decode
from streams.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import EmailMessage, Message

MAX_BYTES = 25 * 1024 * 1024
MAX_PARTS = 200
MAX_DEPTH = 20
MAX_LINES = 500_000
"""More than `MAX_BYTES` make in lines of base64."""
MAX_MARKS = 1000
"""Lines that begin with `--`, as what parts a mail does."""
MAX_MULTIPARTS = 50
"""Each line is held against the boundary of every multipart around it."""
MAX_HEADER = 2000
MAX_CONTENT_HEADER = 500
"""Of the headers that tell what a part is; the parser's time for their parameters grows fastest."""
MAX_HTML = 500_000
MAX_TEXT = 20_000
"""Characters of text that are kept: far more than the model reads, far less than a mail can hold."""

# What the standard library's header parser is known to raise on malformed input, beside what it documents.
_PARSER_FAILS = (MessageError, ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mail:
    """What a person would see of a mail.

    Attributes:
        sender: the `From` header as text.
        date: when it says it was sent (aware, in its own zone; UTC where it names none).
        text: its readable text, at most `MAX_TEXT` characters.
        attachments: names of attached files, or their types where they have no name.
        mended: what was wrong with it, in words.
    """

    subject: str
    sender: str
    date: datetime | None
    text: str
    attachments: tuple[str, ...]
    mended: tuple[str, ...]


def parse(raw: bytes, field: str = "raw") -> Mail:
    """Read a mail.

    Raises:
        PayloadError: `raw` is longer than `MAX_BYTES`, nested too deeply, or no mail at all; it names `field`.
    """
    if len(raw) > MAX_BYTES:
        raise PayloadError(f"the mail is longer than {MAX_BYTES} bytes", field=field)
    mended: dict[str, None] = {}
    # A mailbox file's `From ` line, or blank lines that a client put first, are no part of the mail.
    raw = re.sub(rb"\A(?:From .*\n)?", b"", raw.lstrip())
    try:
        bounds = _Bounded(budget=_Budget())  # type: ignore[call-overload]  # typeshed knows no attribute of a subclass
        message = message_from_bytes(_shortened(raw, mended), policy=bounds)
    except RecursionError:
        raise PayloadError("the mail's parts are nested too deeply", field=field) from None
    if not message.keys():
        raise PayloadError("this is no mail: no header was found; give the raw text of RFC 5322", field=field)
    reader = _Reader(mended)
    text = reader.text(message)[:MAX_TEXT]
    return Mail(
        subject=_header(message, "subject", mended),
        sender=_header(message, "from", mended),
        date=_date(message, mended),
        text=text,
        attachments=tuple(reader.attachments),
        mended=tuple(mended),
    )


def _shortened(raw: bytes, mended: dict[str, None]) -> bytes:
    """Return a mail up to where it has more lines, or more that may part it, than are read."""
    for name, most, what in (
        ("lines", MAX_LINES, rb"\r\n|\r|\n"),
        ("lines that begin with --", MAX_MARKS, rb"(?<=[\r\n])--"),
    ):
        end = next(islice(re.finditer(what, raw), most, None), None)
        if end is not None:
            mended[f"{name}: only {most} were read"] = None
            raw = raw[: end.start()]
    return raw


@dataclass(slots=True)
class _Budget:
    """What a mail may still declare: more than enough for the `MAX_PARTS` that are read."""

    content_types: int = 4 * MAX_PARTS
    multiparts: int = MAX_MULTIPARTS

    def allows(self, value: str) -> bool:
        """Count a `Content-Type`, and return whether it may stand."""
        self.content_types -= 1
        self.multiparts -= "boundary" in value.lower()
        return self.content_types >= 0 and self.multiparts >= 0


class _Bounded(EmailPolicy):
    """Cuts each header of each part before it is parsed, and parses those of the same text once."""

    budget: _Budget | None = None

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Return a header's name and as much of its value as is read."""
        name, value = super().header_source_parse(sourcelines)
        if not name.lower().startswith("content-"):
            return name, value[: MAX_HEADER + 1]  # one more, by which it is seen that it was cut
        value = value[:MAX_CONTENT_HEADER]
        if self.budget is not None and name.lower() == "content-type" and not self.budget.allows(value):
            return name, "application/octet-stream"
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> Any:
        """Return a header parsed; each question about a part asks for it anew."""
        return _parsed(name, value)


@lru_cache(maxsize=16)
def _parsed(name: str, value: str) -> Any:
    """Return a header as the standard library's default policy reads it."""
    return policy.header_fetch_parse(name, value)


def _header(message: EmailMessage, name: str, mended: dict[str, None]) -> str:
    """Return a header decoded; one that the parser chokes on comes as it stands."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name), "")
    if len(raw) > MAX_HEADER:  # the parser's time grows with the square of a header
        mended[f"header {name}: cut to {MAX_HEADER} characters"] = None
        raw = raw[:MAX_HEADER]
    if not raw.isascii():
        # Eight-bit bytes in a header arrive as surrogates; almost always they are UTF-8.
        mended[f"header {name}: unencoded eight-bit text"] = None
        raw = decode(raw.encode("utf-8", "surrogateescape")).text
    try:
        value = str(policy.header_factory(name, raw.replace("\r", "").replace("\n", "")))
    except _PARSER_FAILS:
        mended[f"header {name}: malformed"] = None
        value = raw
    return " ".join(value.encode("utf-8", "replace").decode().split())


def _date(message: EmailMessage, mended: dict[str, None]) -> datetime | None:
    raw = _header(message, "date", mended)
    if not raw:
        return None
    try:
        date = parsedate_to_datetime(raw)
        # A zone may push a date near the calendar's ends over them; what can't be told in UTC is no date.
        date.astimezone(UTC)
    except (*_PARSER_FAILS, OverflowError):
        mended["header date: malformed"] = None
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


class _Reader:
    """Walks a mail's parts, counting what they cost."""

    def __init__(self, mended: dict[str, None]) -> None:
        self.attachments: list[str] = []
        self._mended = mended
        self._parts = 0

    def text(self, part: Message, depth: int = 0) -> str:
        """Return the readable text of `part` and of what it holds."""
        self._parts += 1
        if self._parts > MAX_PARTS or depth > MAX_DEPTH:
            self._mended[f"parts: only {MAX_PARTS}, {MAX_DEPTH} deep, were read"] = None
            return ""
        kind = _asked(part.get_content_type, "text/plain")
        if part.is_multipart():
            self._note_defects(part)
            texts = (self.text(child, depth + 1) for child in cast("list[Message]", part.get_payload()))
            # Alternatives say the same, the plainest first (RFC 2046, section 5.1.4).
            return (
                next(filter(None, texts), "") if kind == "multipart/alternative" else "\n\n".join(filter(None, texts))
            )
        # A multipart without a boundary is one leaf, and its text still worth reading.
        is_text = kind.startswith(("text/", "multipart/"))
        if not is_text or _asked(part.get_content_disposition, None) == "attachment":
            if len(self.attachments) < MAX_PARTS:
                self.attachments.append((_asked(part.get_filename, None) or kind)[:MAX_HEADER])
            return ""
        return self._leaf(part, kind)

    def _note_defects(self, part: Message) -> None:
        self._mended |= {_in_words(type(defect).__name__): None for defect in part.defects}

    def _leaf(self, part: Message, kind: str) -> str:
        data = _asked(lambda: part.get_payload(decode=True), None)
        self._note_defects(part)  # now, because decoding finds some
        decoded = decode(data if isinstance(data, bytes) else b"", [_asked(part.get_content_charset, None)])
        if not decoded.as_declared:
            self._mended[f"charset: read as {decoded.charset}"] = None
        text = _from_html(decoded.text[:MAX_HTML]) if kind == "text/html" else decoded.text
        return text.replace("\r\n", "\n").strip()[:MAX_TEXT]


def _asked(question: Callable[[], T], otherwise: T) -> T:
    """Return the parser's answer, or `otherwise` where a malformed header makes it fail."""
    try:
        return question()
    except _PARSER_FAILS:
        return otherwise


def _in_words(defect: str) -> str:
    """`NoBoundaryInMultipartDefect` -> `no boundary in multipart`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", defect.removesuffix("Defect")).lower()


def _from_html(source: str) -> str:
    # Not every mail is HTML, and importing lxml costs some megabytes.
    import lxml.etree  # noqa: PLC0415
    import lxml.html  # noqa: PLC0415

    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = lxml.html.document_fromstring(source.encode("utf-8", "replace"), parser=parser)
    except lxml.etree.ParserError:
        return ""
    lxml.etree.strip_elements(root, "head", "script", "style", with_tail=False)
    return "\n".join(" ".join(chunk.split()) for chunk in root.itertext() if chunk.strip())
