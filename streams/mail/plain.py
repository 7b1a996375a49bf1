"""A plain text's readable part: flowed lines put together again, files and armor that stand in it taken out.

`format=flowed` by RFC 3676; uuencoded files as old programs put them between the lines; PGP's clear signature around a
text (RFC 9580, section 7), and its encrypted blocks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from streams.mail.bounds import MAX_ATTACHMENTS
from streams.mail.transfer import UUENCODED, uudecoded

if TYPE_CHECKING:
    from streams.mail.bounds import Findings

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_BREAKS = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]|\u200c(?=\\s)")
_LONE = re.compile("[\ud800-\udfff]")
_QUOTES = re.compile(r">*")
_SECRET = re.compile(r"-----BEGIN PGP MESSAGE-----.*?(?:-----END PGP MESSAGE-----|\Z)", re.DOTALL)
_SIGNED = re.compile(r"-----BEGIN PGP SIGNED MESSAGE-----\n(?:[!-9;-~]+:[^\n]*\n)*\n?")
_SIGNATURE = re.compile(r"-----BEGIN PGP SIGNATURE-----.*?(?:-----END PGP SIGNATURE-----|\Z)", re.DOTALL)


def clean(text: str) -> str:
    """Return a text with line feeds for line ends, and without controls, lone surrogates and letters nobody sees."""
    text = _CONTROLS.sub("", _BREAKS.sub("\n", text))
    return _UNSEEN.sub("", _LONE.sub("\N{REPLACEMENT CHARACTER}", text)).strip()


def unflowed(text: str, *, delete_space: bool) -> str:
    """Return a `format=flowed` text with its paragraphs on one line each.

    Args:
        text: the text.
        delete_space: `DelSp=yes`: the space that says a line goes on is no part of the text.
    """
    lines: list[list[str]] = []
    flowing: int | None = None  # the depth of quotes of a line that goes on
    for line in text.split("\n"):
        depth = len(_QUOTES.match(line)[0])  # type: ignore[index]  # it matches anything
        said = line[depth:].removeprefix(" ")
        goes_on = said.endswith(" ") and said != "-- "
        if flowing != depth or said == "-- ":
            lines.append([">" * depth + " "] if depth else [])
        lines[-1].append(said[:-1] if goes_on and delete_space else said)
        flowing = depth if goes_on else None
    return "\n".join(map("".join, lines))


class Uncovered(NamedTuple):
    """A text without the files that stood in it; each with its name and size."""

    text: bytes
    files: list[tuple[bytes, int]]


def uncovered(body: bytes, findings: Findings) -> Uncovered:
    """Take uuencoded files out of a text."""
    files: list[tuple[bytes, int]] = []
    if b"begin " not in body:
        return Uncovered(body, files)

    def take(found: re.Match[bytes]) -> bytes:
        if not found[2] or len(files) == MAX_ATTACHMENTS:
            return found[0]
        files.append((found[1], len(uudecoded(found[2]))))
        return b""

    text = UUENCODED.sub(take, body)
    if files:
        findings.mend("uuencoded file in the text")
    return Uncovered(text, files)


class Opened(NamedTuple):
    """A text without PGP's armor, and what the armor was."""

    text: str
    signed: bool
    encrypted: bool


def without_armor(text: str) -> Opened:
    """Return what a text with PGP's armor says."""
    if "-----BEGIN PGP " not in text:
        return Opened(text, signed=False, encrypted=False)
    opened, secrets = _SECRET.subn("", text)
    opened, signed = _SIGNED.subn("", opened)
    if signed:
        # Lines that begin with a dash are escaped (RFC 9580, section 7.2).
        opened = re.sub(r"^- ", "", _SIGNATURE.sub("", opened), flags=re.MULTILINE)
    return Opened(opened.strip(), signed=bool(signed), encrypted=bool(secrets))
