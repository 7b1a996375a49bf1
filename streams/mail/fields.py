"""The header of a mail or of a part: its fields, where its body begins, and the parameters of a field.

Fields are unfolded and kept as bytes; `streams.mail.words` makes text of them. A header with more lines than anybody
writes is read field by field as far as `MAX_HEADER_LINES`, and beyond only for the fields that tell what a mail is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from streams.charset import decode
from streams.mail.bounds import MAX_ADDRESS_HEADER, MAX_FIELDS, MAX_HEADER, MAX_HEADER_LINES
from streams.mail.words import decoded_words, line, raw_text

if TYPE_CHECKING:
    from streams.mail.bounds import Findings

_FIELD = re.compile(rb"([!-9;-~]{1,200}+)[ \t]*+:[ \t]*+")
_FOLDED = re.compile(rb"(?:\n[ \t][^\n]*+)*+")
_KNOWN = (
    rb"from|to|cc|bcc|subject|date|sender|reply-to|message-id|received|return-path|mime-version|in-reply-to|references|"
    rb"content-[a-z-]+|list-[a-z-]+|auto-submitted|precedence|delivered-to|dkim-signature|authentication-results"
)
_KNOWN_NEXT = re.compile(rb"(?:" + _KNOWN + rb"|x-[!-9;-~]{1,100})[ \t]*+:", re.IGNORECASE)
_TELLING = re.compile(
    rb"^(from|to|cc|subject|date|content-type|content-transfer-encoding|list-id|list-unsubscribe|auto-submitted)"
    rb"[ \t]*+:[ \t]*+([^\n]*+(?:\n[ \t][^\n]*+)*+)",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_TELLING = 20
_SKIPPED = 1 << 20
"""Bytes within which a part's header that is too long must end."""

_PARAMETER = re.compile(r';\s*+([^\s=;"]{1,100}+)\s*+=\s*+("(?:[^"\\]|\\.)*+"?|[^;]*+)', re.DOTALL)


class Field(NamedTuple):
    """A header field: its name in lower case, and its unfolded value, at most `MAX_ADDRESS_HEADER` bytes."""

    name: str
    value: bytes


class Head(NamedTuple):
    """A header, and where what follows it begins."""

    fields: list[Field]
    body: int

    def first(self, name: str) -> bytes:
        """Return the value of the first field of a name, or nothing."""
        return next((value for key, value in self.fields if key == name), b"")

    def each(self, name: str) -> list[bytes]:
        """Return the values of all fields of a name."""
        return [value for key, value in self.fields if key == name]

    def count(self, name: str) -> int:
        """Return how many fields have a name."""
        return sum(key == name for key, _ in self.fields)


def begins_head(raw: bytes, at: int) -> bool:
    """Whether what stands there looks like a header field."""
    return bool(_FIELD.match(raw, at))


def read_head(raw: bytes, start: int, end: int, findings: Findings, *, outermost: bool = False) -> Head:
    """Read the header that begins at `start`.

    Args:
        raw: the whole mail, with line feeds for line ends.
        start: where the header begins.
        end: where what it belongs to ends at the latest.
        findings: takes what had to be mended.
        outermost: this is the header of the mail itself.
    """
    fields: list[Field] = []
    at, lines = start, 0
    while at < end:
        lines += 1
        if lines > MAX_HEADER_LINES or len(fields) > MAX_FIELDS:
            findings.mend(f"headers: only {MAX_FIELDS} fields and {MAX_HEADER_LINES} lines were read one by one")
            return Head(fields, _skip(raw, at, end, fields, outermost=outermost))
        stop = raw.find(b"\n", at, end)
        stop = end if stop < 0 else stop
        if stop == at:
            return Head(fields, at + 1)
        if (name := _FIELD.match(raw, at, stop)) and raw[at : at + 2] != b"--":
            first, stop = stop, _FOLDED.match(raw, stop, end).end()  # type: ignore[union-attr]  # it matches anything
            lines += raw.count(b"\n", first, stop)
            value = raw[name.end() : min(stop, name.end() + MAX_ADDRESS_HEADER)].replace(b"\n", b"")
            fields.append(Field(name[1].decode("ascii").lower(), value))
        elif fields and raw[at : at + 2] != b"--" and _KNOWN_NEXT.match(raw, stop + 1, end):
            # A folded line that lost its white space, or a line that some program dropped in.
            findings.mend("headers: a line that is none")
            name_before, value = fields[-1]
            more = b" " + raw[at : min(stop, at + MAX_HEADER)]
            fields[-1] = Field(name_before, (value + more)[:MAX_ADDRESS_HEADER])
        else:
            findings.mend("missing header body separator")
            return Head(fields, at)
        at = stop + 1
    return Head(fields, end)


def _skip(raw: bytes, at: int, end: int, fields: list[Field], *, outermost: bool) -> int:
    """Return where the body begins after a header that is too long; of the mail's own, take what tells most."""
    end = end if outermost else min(end, at + _SKIPPED)
    blank = raw.find(b"\n\n", at - 1, end)
    stop = end if blank < 0 else blank + 1
    if outermost:
        for count, found in enumerate(_TELLING.finditer(raw, at, stop)):
            if count == _MOST_TELLING:
                break
            value = found[2][:MAX_ADDRESS_HEADER].replace(b"\n", b"")
            fields.append(Field(found[1].decode("ascii").lower(), value))
    return stop if blank < 0 else blank + 2


class Declared(NamedTuple):
    """A field with parameters, such as `Content-Type`: its value in lower case and what follows it."""

    value: str
    parameters: dict[str, str]


def declared(value: bytes, findings: Findings, where: str) -> Declared:
    """Read a field with parameters (RFC 2045), also those that are continued or tell their charset (RFC 2231)."""
    text = raw_text(value[:MAX_HEADER], findings, where)
    if len(value) > MAX_HEADER:
        findings.mend(f"{where}: cut to {MAX_HEADER} characters")
    main = _uncommented(text.partition(";")[0]).strip("\"'").lower()
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for name, raw_value in _PARAMETER.findall(text):
        given = _unquoted(raw_value)
        base, star, rest = name.lower().partition("*")
        if not star:
            if base in plain:
                findings.suspect(f"{where}: {_named(base)} twice")
            plain.setdefault(base, given)
        else:
            number, _, _ = rest.partition("*")
            place = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0
            pieces.setdefault(base, []).append((place, name.endswith("*"), given))
    parameters = {name: line(decoded_words(given, findings, where), findings, where) for name, given in plain.items()}
    for name, found in pieces.items():
        parameters[name] = line(_continued(found), findings, where)
    return Declared(line(main, findings, where), parameters)


def _named(parameter: str) -> str:
    return parameter if parameter in {"boundary", "charset", "name", "filename"} else "a parameter"


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"') if len(value) > 1 else "", flags=re.DOTALL)
    return _uncommented(value).strip("'")


def _uncommented(value: str) -> str:
    """Return a value without the comment that may end it."""
    value = value.strip()
    before, opens, comment = value.rpartition("(")
    return before.rstrip() if opens and comment.endswith(")") and comment.count(")") == 1 else value


def _continued(pieces: list[tuple[int, bool, str]]) -> str:
    """Return the value of a parameter in pieces, each with its number and whether it is percent-encoded."""
    charset, data = None, b""
    for place, encoded, piece in sorted(pieces, key=lambda piece: piece[0]):
        value = piece
        if encoded and place == 0 and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        data += unquote_to_bytes(value) if encoded else value.encode("utf-8", "replace")
    return decode(data, [charset], guess=False).text
