"""A page as it came: bytes, the text that they are, and what its server says of it.

Pure. What is said of a page may lie: its charset is believed only as far as its bytes allow (`streams.charset`).
"""

from __future__ import annotations

import email.message
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.errors import AnswerRefusedError
from streams.charset import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backbone.net import Answer

KEPT_HEADERS = (
    "age",
    "cache-control",
    "content-disposition",
    "content-language",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "link",
    "x-robots-tag",
)
"""Headers that a reader of pages may want; the others say something to machines on the way, or to one client."""

_TEXTUAL = re.compile(r"text/.*|application/(xhtml\+xml|xml|json|.*\+xml|.*\+json)")
_DECLARED_IN_PAGE = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w:.-]{2,40})""", re.IGNORECASE
)
_WIDE = re.compile("utf-?(16|32)", re.IGNORECASE)
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it came.

    Attributes:
        url: as it was asked for.
        final_url: where the redirects led.
        status: HTTP status; below 500 and not 429.
        content_type: media type without parameters.
        charset: how its bytes were read; empty where it is no text.
        language: what the `Content-Language` header says.
        headers: those of `KEPT_HEADERS` that it has, by their names in small letters.
        body: its bytes, decompressed.
        text: its bytes as text; empty where it is no text.
        from_cache: whether the bytes were here already.
    """

    url: str
    final_url: str
    status: int
    content_type: str
    charset: str
    language: str | None
    headers: Mapping[str, str]
    body: bytes
    text: str
    from_cache: bool = False


def page_of(answer: Answer, url: str, *, from_cache: bool, binary: bool = False) -> Page:
    """Return an answer as a page.

    Args:
        answer: whole, its body decompressed.
        url: as it was asked for.
        from_cache: whether its bytes were here already.
        binary: whether it may be other than text.

    Raises:
        AnswerRefusedError: it is no text, and must be.
    """
    content_type, declared = media_type(answer.headers.get("content-type", "text/html"))
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    charset = text = ""
    if is_text(content_type):
        decoded = decode(answer.body, (declared, _declared_in(answer.body)))
        charset, text = decoded.charset, decoded.text
    elif not binary:
        raise AnswerRefusedError(f"it is {content_type}; only text can be read", field="url")
    return Page(
        url=url,
        final_url=answer.url,
        status=answer.status,
        content_type=content_type,
        charset=charset,
        language=answer.headers.get("content-language"),
        headers=headers,
        body=answer.body,
        text=text,
        from_cache=from_cache,
    )


def _declared_in(body: bytes) -> str | None:
    """Return the charset that a page says it is in.

    It was read as ASCII, so it is none of two or four bytes a letter, whatever it says (HTML, "prescan a byte stream").
    """
    found = _DECLARED_IN_PAGE.search(body[:_HEAD_BYTES])
    if found is None:
        return None
    charset = found[1].decode("ascii")
    return "utf-8" if _WIDE.match(charset) else charset


def is_text(content_type: str) -> bool:
    """Whether what has this type can be read as text."""
    return _TEXTUAL.fullmatch(content_type) is not None


def media_type(header: str) -> tuple[str, str | None]:
    """Return the type and the charset that a `Content-Type` names (RFC 9110, section 8.3)."""
    message = email.message.Message()
    message["content-type"] = header.replace("\n", " ").replace("\r", " ")
    return message.get_content_type(), message.get_content_charset()
