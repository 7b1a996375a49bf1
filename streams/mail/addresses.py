"""The people in a header: `Lea <lea@example.com>, "Roth, Jan" (work) <jan@example.com>; Team: a@x.example, b@x.example;`.

Split while encoded words are still encoded, so that a comma within one parts nothing (RFC 5322, section 3.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streams.mail.bounds import MAX_ADDRESS_HEADER, MAX_ADDRESSES, MAX_HEADER
from streams.mail.message import Address
from streams.mail.words import decoded_words, line, raw_text

if TYPE_CHECKING:
    from streams.mail.bounds import Findings

_TOKEN = re.compile(
    r'"(?P<quoted>(?:[^"\\]|\\.)*+)(?:"|$)|<(?P<angle>[^<>]*+)(?:>|$)|\((?P<comment>[^()]*+)\)|(?P<mark>[,;:])|'
    r'(?P<bare>[^"<(,;:]++)|(?P<stray>.)',
    re.DOTALL,
)
_SHOWN = re.compile(r"[\w.+-]{1,64}@([\w-]{1,63}(?:\.[\w-]{1,63})+)")


def addresses(value: bytes, findings: Findings, where: str, charset: str | None) -> tuple[Address, ...]:
    """Return the addresses of a header, at most `MAX_ADDRESSES`; a group's name is left out.

    Args:
        value: its unfolded bytes.
        findings: takes what had to be mended.
        where: how to name it there.
        charset: that of the text below the header.
    """
    if len(value) >= MAX_ADDRESS_HEADER:
        findings.mend(f"{where}: cut to {MAX_ADDRESS_HEADER} characters")
    list_ = _List()
    for token in _TOKEN.finditer(raw_text(value[:MAX_ADDRESS_HEADER], findings, where, charset)):
        list_.take(token.lastgroup or "", token[token.lastgroup or 0])
        if len(list_.found) == MAX_ADDRESSES:
            findings.mend(f"{where}: only {MAX_ADDRESSES} addresses were read")
            break
    else:
        list_.close()
    return tuple(
        Address(_clean(name, findings, where), _address(address, findings, where)) for name, address in list_.found
    )


class _List:
    """The addresses of a header that are whole, and the one that is being read."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._words: list[str] = []
        self._comments: list[str] = []
        self._target: str | None = None

    def take(self, kind: str, said: str) -> None:
        """Take the next token."""
        if kind == "mark":
            if said == ":" and self._target is None and "@" not in "".join(self._words):
                self._words.clear()  # a group's name
            else:
                self.close()
        elif kind == "angle":
            self._target = said if self._target is None else self._target
        elif kind == "comment":
            self._comments.append(said)
        elif kind == "quoted":
            self._words.append(re.sub(r"\\(.)", r"\1", said, flags=re.DOTALL))
        else:
            self._words.append(said)

    def close(self) -> None:
        """End the address that is being read."""
        name, address = "".join(self._words).strip(), self._target
        if address is None:  # a bare address, perhaps with its owner's name in a comment
            name, address = " ".join(self._comments), name
        if address or name:
            self.found.append((name, address))
        self._words, self._comments, self._target = [], [], None


def suspect_senders(senders: tuple[Address, ...], findings: Findings) -> None:
    """Note what a `From` header does to seem somebody else's."""
    if len(senders) > 1:
        findings.suspect("from: several addresses")
    for who in senders:
        shown = _SHOWN.search(who.name)
        if shown and shown[1].lower() != who.domain:
            findings.suspect("from: the name shows another address")


def _address(text: str, findings: Findings, where: str) -> str:
    clean = _clean(text, findings, where)
    return clean.replace(" ", "") if "@" in clean else clean


def _clean(text: str, findings: Findings, where: str) -> str:
    return line(decoded_words(text, findings, where), findings, where)[:MAX_HEADER]
