"""What a part of a mail is to its reader: words, markup, a file, a signature; and what a file may be called.

By its declared type, its disposition and its name, in this order of belief, as mail programs do it.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

from streams.mail.bounds import MAX_DEPTH, MAX_NAME
from streams.mail.words import line

if TYPE_CHECKING:
    from streams.mail.bounds import Findings
    from streams.mail.mime import Part

_NO_WORDS = frozenset({"text/rtf", "text/css", "text/csv", "text/vcard", "text/x-vcard", "text/directory", "text/xml"})
_PASSED_OVER = frozenset({"text/x-amp-html", "text/rfc822-headers"})
"""What other parts say better, or what was never for people."""
_MARKUP = frozenset({"text/html", "application/xhtml+xml"})
_REPORTS = frozenset({"message/delivery-status", "message/global-delivery-status", "message/disposition-notification"})
_SIGNATURES = frozenset({"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"})
_CMS = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_WINMAIL = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_INVITATIONS = frozenset({"text/calendar", "application/ics"})
_PATH = re.compile(r"[/\\:]+")
_LONGEST_ENDING = 20


class Role(Enum):
    """What a part is to its reader."""

    WORDS = auto()
    MARKUP = auto()
    REPORT = auto()
    INVITATION = auto()
    CMS = auto()
    WINMAIL = auto()
    SIGNATURE = auto()
    FILE = auto()
    NOTHING = auto()


_BY_TYPE = {
    **dict.fromkeys(_SIGNATURES, Role.SIGNATURE),
    **dict.fromkeys(_CMS, Role.CMS),
    **dict.fromkeys(_WINMAIL, Role.WINMAIL),
    **dict.fromkeys(_REPORTS, Role.REPORT),
    **dict.fromkeys(_INVITATIONS, Role.INVITATION),
}


def role(part: Part, name: str, *, attached: bool) -> Role:
    """Return what a part without parts is.

    Args:
        part: the part.
        name: its file name, or nothing.
        attached: its disposition says that it is an attachment.
    """
    kind = part.type
    told = _told_apart(kind, name)
    if told is not None:
        return Role.FILE if told is Role.INVITATION and attached else told
    if (part.is_multipart and part.depth >= MAX_DEPTH) or (kind in _PASSED_OVER and not attached):
        return Role.NOTHING
    if attached or (name and kind not in {"text/plain", *_MARKUP}):
        return Role.FILE
    if kind in _MARKUP:
        return Role.MARKUP
    # A multipart that has no parts is one leaf, and its text still worth reading.
    return Role.WORDS if kind.startswith(("text/", "multipart/")) and kind not in _NO_WORDS else Role.FILE


def _told_apart(kind: str, name: str) -> Role | None:
    """Return the role of a part that has one by its type, or by a name that belongs to one program."""
    if kind == "application/octet-stream" and name.lower().endswith((".p7m", ".p7s")):
        return Role.CMS
    return _BY_TYPE.get(kind) or (Role.WINMAIL if name.lower() == "winmail.dat" else None)


def file_name(name: str, findings: Findings) -> str:
    """Return a file's name on one line and without a path, at most `MAX_NAME` characters with its ending."""
    safe = line(name, findings, "attachment name")
    if _PATH.search(safe):
        findings.suspect("attachment name: has a path")
    safe = _PATH.sub("_", safe).strip(". ")
    if len(safe) <= MAX_NAME:
        return safe
    stem, dot, ending = safe.rpartition(".")
    kept = dot + ending if dot and len(ending) < _LONGEST_ENDING else ""
    return (stem if kept else safe)[: MAX_NAME - len(kept)] + kept
