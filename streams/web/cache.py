"""Which answers may be used again, for how long, and how one asks whether they still hold: RFC 9111 as a shared cache.

Pure: times come in. What is kept serves every owner, so that only what a server gives to anybody is kept: nothing that
it calls `private` or `no-store`, and nothing that came with a cookie. Bodies are kept decompressed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import msgspec

from backbone.net import Answer
from streams.web.http_time import http_date, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = 86_400.0
LONGEST_GUESS = 3600.0
"""Seconds that an answer is held fresh for by its age alone; RFC 9111 (section 4.2.2) lets a cache choose."""
LONGEST_KEPT = 7 * DAY

_GUESSABLE = frozenset({200, 203, 204, 300, 301, 308, 404, 410})
_STORABLE = _GUESSABLE | {302, 303, 307}
_OF_ONE_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
_OF_THE_BYTES = frozenset({"content-encoding", "content-length", "content-range"})
"""What is true of the bytes as they came, and not of those that are kept."""
_DIRECTIVE = re.compile(r'([\w!#$%&\'*+.^`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?')


class Stored(msgspec.Struct, frozen=True):
    """An answer that may be used again.

    Attributes:
        url: where it came from.
        status: of HTTP.
        headers: without those that hold for one connection, names in small letters, as the bytes that they were.
        body: decompressed.
        varied: the request's headers that the answer depends on.
        asked_at: seconds since the epoch, when it was asked for or found to hold still.
        answered_at: when that was answered.
    """

    url: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    varied: dict[str, str]
    asked_at: float
    answered_at: float

    def answer(self) -> Answer:
        """Return it as it came."""
        return Answer(self.url, self.status, httpx.Headers(self.headers), self.body)


def stored(asked: httpx.Headers, answer: Answer, asked_at: float, answered_at: float) -> Stored | None:
    """Return what is kept of an answer to a GET, or None where nothing may be or it would be of no use (section 3).

    Args:
        asked: headers of the request.
        answer: whole.
        asked_at: seconds since the epoch.
        answered_at: the same.
    """
    if (
        answer.status not in _STORABLE
        or not _for_anybody(answer.headers)
        or "no-store" in directives(asked)
        or asked.keys() & {"authorization", "cookie"}
    ):
        return None
    varied = {name: asked.get(name, "") for name in _varies(answer.headers)}
    kept = Stored(answer.url, answer.status, _kept(answer.headers), answer.body, varied, asked_at, answered_at)
    return kept if conditions(kept) or lifetime(kept) > age(kept, answered_at) else None


def matches(kept: Stored, asked: httpx.Headers) -> bool:
    """Whether it answers a request with these headers, too (section 4.1)."""
    return all(asked.get(name, "") == value for name, value in kept.varied.items())


def is_fresh(kept: Stored, now: float) -> bool:
    """Whether it may be used without asking (section 4.2)."""
    return "no-cache" not in directives(_headers(kept)) and lifetime(kept) > age(kept, now)


def serves_in_need(kept: Stored, now: float) -> bool:
    """Whether it may be used where its server fails (RFC 5861, section 4)."""
    said = directives(_headers(kept))
    if said.keys() & {"must-revalidate", "proxy-revalidate", "no-cache", "s-maxage"}:
        return False
    return age(kept, now) < lifetime(kept) + (seconds(said.get("stale-if-error")) or 0)


def conditions(kept: Stored) -> httpx.Headers:
    """Return the headers that ask whether it still holds; none where that can't be asked (section 4.3.1)."""
    asks = {b"etag": b"if-none-match", b"last-modified": b"if-modified-since"}
    return httpx.Headers([(asks[name], value) for name, value in kept.headers if name in asks and value])


def freshened(kept: Stored, answer: Answer, asked_at: float, answered_at: float) -> Stored | None:
    """Return it as a 304 renews it, or None where the 304 speaks of another one (sections 3.2 and 4.3.4).

    What it says from now on may be for one person alone: then it answers once more, and is not to be kept so.
    """
    old, new = _headers(kept), answer.headers
    if "etag" in new and _weak(new["etag"]) != _weak(old.get("etag", "")):
        return None
    # An age that the 304 doesn't tell again was that of the answer before it.
    said = _kept(new)
    replaced = {b"age"} | {name for name, _ in said}
    merged = [(name, value) for name, value in kept.headers if name not in replaced] + said
    return msgspec.structs.replace(kept, headers=merged, asked_at=asked_at, answered_at=answered_at)


def keep_for(kept: Stored) -> float:
    """Return the seconds after which it is of no use any more; none where it is for one person alone."""
    said = directives(_headers(kept))
    if not _for_anybody(_headers(kept)):
        return 0.0
    left = lifetime(kept) - age(kept, kept.answered_at) + (seconds(said.get("stale-if-error")) or 0)
    return min(max(left, 0.0) + (DAY if conditions(kept) else 0.0), LONGEST_KEPT)


def lifetime(kept: Stored) -> float:
    """Return the seconds for which it is fresh, from when it was made (section 4.2.1)."""
    headers = _headers(kept)
    said = explicit_lifetime(headers, kept.answered_at)
    if said is not None:
        return said
    modified = http_date(headers.get("last-modified"))
    if modified is None or kept.status not in _GUESSABLE:
        return 0.0
    made = http_date(headers.get("date")) or kept.answered_at
    return min(max(0.0, made - modified) / 10, LONGEST_GUESS)


def explicit_lifetime(headers: Mapping[str, str], answered_at: float) -> float | None:
    """Return the seconds for which an answer says that it is fresh, or None where it doesn't say; 0 for nonsense."""
    said = directives(headers)
    for name in ("s-maxage", "max-age"):
        if name in said:
            return float(seconds(said[name]) or 0)
    if "expires" not in headers:
        return None
    expires = http_date(headers["expires"])
    made = http_date(headers.get("date"))
    return 0.0 if expires is None else max(0.0, expires - (answered_at if made is None else made))


def age(kept: Stored, now: float) -> float:
    """Return the seconds since it was made or last found to hold by its server (section 4.2.3)."""
    headers = _headers(kept)
    made = http_date(headers.get("date"))
    apparent = 0.0 if made is None else max(0.0, kept.answered_at - made)
    corrected = (seconds(headers.get("age")) or 0) + max(0.0, kept.answered_at - kept.asked_at)
    return max(apparent, corrected) + max(0.0, now - kept.answered_at)


def directives(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what `Cache-Control` says: names in small letters, values or empty text, the first of each."""
    found: dict[str, str] = {}
    for name, quoted, plain in _DIRECTIVE.findall(headers.get("cache-control", "")[:4096]):
        found.setdefault(name.lower(), quoted or plain)
    return found


def _for_anybody(headers: httpx.Headers) -> bool:
    """Whether an answer with these headers may serve others than who asked."""
    unshared = directives(headers).keys() & {"no-store", "private"}
    return not (unshared or "set-cookie" in headers or "*" in _varies(headers))


def _varies(headers: httpx.Headers) -> list[str]:
    names = (name.strip().lower() for name in headers.get("vary", "").split(","))
    return [name if name.isascii() else "*" for name in names if name]  # what is no name may be anything


def _kept(headers: httpx.Headers) -> list[tuple[bytes, bytes]]:
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    gone = {name.encode() for name in _OF_ONE_HOP | _OF_THE_BYTES | named}
    return [(name.lower(), value) for name, value in headers.raw if name.lower() not in gone]


def _headers(kept: Stored) -> httpx.Headers:
    return httpx.Headers(kept.headers)


def _weak(etag: str) -> str:
    return etag.strip().removeprefix("W/")
