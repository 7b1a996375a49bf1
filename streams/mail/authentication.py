"""Whether a mail's `From` is who it says, by what a mail server of ours found and wrote on top of the mail (RFC 8601).

Anybody may write an `Authentication-Results` header. So only the first one that bears the name of the server that the
operator trusts is read: a server puts its own above what came, and removes those that came under its name (section 5).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from streams.mail.bounds import MAX_HEADER

if TYPE_CHECKING:
    from streams.mail.message import Mail

_HEADER = "authentication-results"
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*+)"?|(\()|(\))|(\\.)|([^"()\\]++)|(.)', re.DOTALL)
_PAIR = re.compile(r"([\w./-]+)\s*=\s*(\S+)")


class _Finding(NamedTuple):
    """What one method found: `dmarc=pass header.from=example.com`."""

    method: str
    result: str
    properties: dict[str, str]


def is_authentic(mail: Mail, server: str) -> bool:
    """Whether a server vouches for the domain of the one address in `From`: by DMARC, or by DKIM for that domain.

    Args:
        mail: the mail.
        server: the name that the trusted server gives itself, its authserv-id (RFC 8601, section 2.5).
    """
    if len(mail.senders) != 1:
        return False
    domain = mail.senders[0].domain
    # What was cut may end in the middle of a domain.
    said = (value for name, value in mail.headers if name == _HEADER and len(value) < MAX_HEADER)
    for parts in map(_parts, said):
        if (parts[0].split() or [""])[0].lower() == server.lower():
            return any(_vouches(finding, domain) for finding in map(_finding, parts[1:]) if finding)
    return False


def _vouches(finding: _Finding, domain: str) -> bool:
    if finding.result != "pass":
        return False
    if finding.method == "dmarc":
        return finding.properties.get("header.from") == domain
    if finding.method == "dkim":
        signer = finding.properties.get("header.d") or finding.properties.get("header.i", "").rpartition("@")[2]
        return signer == domain
    return False  # SPF speaks of the envelope, which no reader sees


def _parts(value: str) -> list[str]:
    """Return what stands between the semicolons, without comments; what is quoted can't part anything."""
    plain, depth = [], 0
    for quoted, opens, closes, escaped, bare, other in _TOKEN.findall(value):
        if opens:
            depth += 1
        elif closes:
            depth = max(0, depth - 1)
        elif depth == 0:
            plain.append(bare or re.sub(r"[\s;=]", "?", quoted or escaped or other))
    return "".join(plain).split(";")


def _finding(part: str) -> _Finding | None:
    pairs = [(name.lower(), value.lower()) for name, value in _PAIR.findall(part)]
    if len(dict(pairs)) < max(1, len(pairs)):
        return None  # nothing, or one property twice: which of the two the server means can't be known
    (method, result), *properties = pairs
    return _Finding(method.partition("/")[0], result, dict(properties))
