"""A mail's bytes as a tree of parts, whatever became of its boundaries on the way (RFC 2046).

One pass over the lines that begin with `--`: each either belongs to a boundary that is open, looked up in one step, or
is text. Nothing is copied: a part is where it begins and ends. A multipart in which no part was found is looked at once
more, for the boundary that its sender meant or for the transfer encoding that it must not have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.mail.bounds import MAX_DEPTH, MAX_MARKS, MAX_PARTS
from streams.mail.fields import Declared, Head, begins_head, declared, read_head
from streams.mail.transfer import BASE64, decoded, encoding_of

if TYPE_CHECKING:
    from streams.mail.bounds import Findings

# With a literal before all else they are searched for at the speed of memory; what begins a body has a line feed before.
_MARK = re.compile(rb"\n--([^\n]*+)")
_MEANT = re.compile(rb"\n--([^\n]{1,200}+)\n(?=content-[a-z-]{1,60}+:)", re.IGNORECASE)
_MAILS = frozenset({"message/rfc822", "message/global", "message/news"})
_LONGEST_BOUNDARY = 200
"""The RFC allows 70 characters; some senders take more."""


@dataclass(slots=True)
class Part:
    """A part of a mail, or the mail itself.

    Attributes:
        raw: the bytes that it lies in.
        head: its header.
        type: its media type in lower case; what has none, or one that can't be read, is text.
        parameters: those of its `Content-Type`.
        start: where in `raw` its body begins.
        end: where its body ends.
        depth: how many multiparts and mails it lies in.
        children: the parts of a multipart, or the one mail of a `message/rfc822`.
    """

    raw: bytes
    head: Head
    type: str
    parameters: dict[str, str]
    start: int
    end: int
    depth: int
    children: list[Part] = field(default_factory=list)

    @property
    def is_multipart(self) -> bool:
        """Whether it is said to have parts."""
        return self.type.startswith("multipart/")

    @property
    def is_mail(self) -> bool:
        """Whether its body is a mail of its own."""
        return self.type in _MAILS


def split(raw: bytes, findings: Findings, depth: int = 0) -> Part:
    """Return a mail's parts.

    Args:
        raw: the mail, with line feeds for line ends.
        findings: takes what had to be mended, and knows how many parts may still be read.
        depth: how many multiparts and mails it lies in.
    """
    splitter = _Splitter(raw, findings)
    root = splitter.opened(0, len(raw), depth, "text/plain")
    splitter.scan(root)
    return root


class _Splitter:
    """Goes through a mail's marks, with the parts that are open at each."""

    def __init__(self, raw: bytes, findings: Findings) -> None:
        self._raw = raw
        self._findings = findings
        self._open: list[Part] = []
        self._boundaries: dict[bytes, list[int]] = {}
        self._again: Part | None = None

    def scan_again(self, part: Part, boundary: bytes) -> None:
        """Give a multipart the parts that another boundary shows than its own."""
        self._again = part
        self._open.append(part)
        self._declare(boundary)
        self.scan(part)

    def opened(self, start: int, end: int, depth: int, default: str) -> Part:
        """Read the header at `start`, and the headers of the mails that begin in its body."""
        head = read_head(self._raw, start, end, self._findings, outermost=depth == 0)
        kind = _kind(head, default, self._findings)
        part = Part(self._raw, head, kind.value, kind.parameters, head.body, end, depth)
        self._open.append(part)
        self._findings.parts -= 1
        if depth >= MAX_DEPTH and (part.is_multipart or part.is_mail):
            self._findings.mend(f"parts: only {MAX_PARTS}, {MAX_DEPTH} deep, were read")
        elif part.is_multipart and (boundary := part.parameters.get("boundary", "")):
            self._declare(boundary.encode("utf-8", "replace"))
        elif part.is_mail and (encoding_of(head) != BASE64 or begins_head(self._raw, head.body)):
            part.children.append(self.opened(head.body, end, depth + 1, "text/plain"))
        return part

    def _declare(self, boundary: bytes) -> None:
        self._boundaries.setdefault(boundary[:_LONGEST_BOUNDARY].rstrip(), []).append(len(self._open) - 1)

    def scan(self, root: Part) -> None:
        """Give every open part its parts and its end."""
        for mark in _MARK.finditer(self._raw, max(0, root.start - 1), root.end):
            if not self._boundaries:
                break
            self._findings.marks -= 1
            if self._findings.marks < 0:
                self._findings.mend(f"lines that begin with --: only {MAX_MARKS} were read")
                self._close(0, mark.start())
                return
            if not self._follow(mark[1][: _LONGEST_BOUNDARY + 20].rstrip(), mark.start(), mark.end(), root.end):
                return
        self._close(0, root.end)

    def _follow(self, said: bytes, start: int, after: int, end: int) -> bool:
        """Do what a mark says; return whether to go on."""
        if start < self._open[-1].start - 1:
            return True  # in the middle of a header
        if levels := self._boundaries.get(said):
            level = levels[-1]
            self._close(level + 1, start)
            if self._findings.parts <= 0:
                self._findings.mend(f"parts: only {MAX_PARTS}, {MAX_DEPTH} deep, were read")
                self._close(0, start)
                return False
            parent = self._open[level]
            default = "message/rfc822" if parent.type == "multipart/digest" else "text/plain"
            parent.children.append(self.opened(min(after + 1, end), end, parent.depth + 1, default))
        elif said.endswith(b"--") and (levels := self._boundaries.get(said[:-2].rstrip())):
            self._close(levels[-1] + 1, start)
            self._close(levels[-1], after, by_mark=True)
        return True

    def _close(self, level: int, end: int, *, by_mark: bool = False) -> None:
        """Close the open parts from `level` on."""
        while len(self._open) > level:
            part = self._open.pop()
            part.end = max(part.start, min(part.end, end))
            for boundary, levels in list(self._boundaries.items()) if part.is_multipart else ():
                if levels[-1] == len(self._open):
                    levels.pop()
                    if not levels:
                        del self._boundaries[boundary]
                    if not by_mark and part.children:
                        self._findings.mend("close boundary not found")
            if not part.children and (part.is_multipart or part.is_mail) and part.depth < MAX_DEPTH:
                self._look_again(part)

    def _look_again(self, part: Part) -> None:
        """Find what lies in a part whose own boundary showed nothing, or which is encoded although it may not be."""
        if part is self._again or self._findings.parts <= 0:
            return
        if encoding_of(part.head) == BASE64:
            inner = decoded(part.raw[part.start : part.end], BASE64, self._findings).replace(b"\r\n", b"\n")
            if part.is_mail:
                part.children.append(split(inner, self._findings, part.depth + 1))
                return
            part.raw, part.start, part.end = b"\n" + inner, 1, len(inner) + 1
        if not part.parameters.get("boundary"):
            self._findings.mend("no boundary in multipart")
        if meant := _MEANT.search(part.raw, max(0, part.start - 1), part.end):
            self._findings.mend("boundary: taken from the first part")
            _Splitter(part.raw, self._findings).scan_again(part, meant[1].rstrip())


def _kind(head: Head, default: str, findings: Findings) -> Declared:
    """Return the media type of a part; one that can't be read is text (RFC 2045, section 5.2)."""
    value = head.first("content-type")
    if not value.strip():
        return Declared(default, {})
    if head.count("content-type") > 1:
        findings.suspect("header content-type: more than one")
    kind = declared(value, findings, "header content-type")
    if not re.fullmatch(r"[!-.0-~]{1,100}/[!-.0-~]{1,100}", kind.value):
        findings.mend("header content-type: malformed")
        return Declared("text/plain", kind.parameters)
    return kind
