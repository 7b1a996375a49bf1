"""Polite HTTP for reading pages: says who asks, takes turns, takes only text, and reads it in the right charset."""

from __future__ import annotations

import email.message
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from backbone.errors import AnswerRefusedError, FetchError
from backbone.net import Connector, Limits
from streams.charset import decode
from streams.hosts import Hosts

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from backbone.settings import Settings

_TEXTUAL = re.compile(r"text/.*|application/(xhtml\+xml|xml|json|.*\+xml|.*\+json)")
_DECLARED_IN_PAGE = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w:.-]{2,40})""", re.IGNORECASE
)
_HEAD_BYTES = 4096
_TURN_SECONDS = 2.0
"""How long a request waits for its turn: a partition stands still meanwhile, and other tasks with it."""
_SHARE_FOR_TURNS = 0.75
"""Of the time that is left, what may go by at most before it is this request's turn."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as text.

    Attributes:
        url: where it was found in the end.
        status: HTTP status; below 500.
        content_type: media type without parameters.
        charset: how its bytes were read.
        language: what the `Content-Language` header says.
        text: the page's source.
    """

    url: str
    status: int
    content_type: str
    charset: str
    language: str | None
    text: str


def user_agent(contact: str = "") -> str:
    """Return the honest name that requests carry, with whom to ask about them."""
    try:
        release = version("barnabas-backbone")
    except PackageNotFoundError:
        release = "source"
    return f"Barnabas/{release} (+{contact})" if contact else f"Barnabas/{release}"


class Fetcher:
    """Reads pages; one lives as long as its process."""

    def __init__(self, settings: Settings) -> None:
        self._connector = Connector(settings.net_allow, user_agent=user_agent(settings.user_agent_contact))
        self._hosts = Hosts(settings)

    async def page(self, url: str, seconds: float) -> Page:
        """Fetch `url` within so many seconds and return it as text.

        Raises:
            AddressRefusedError: it may not be reached from here.
            AnswerRefusedError: it is too large, redirects too often, or is no text.
            FetchError: it did not answer, or asks to try again later (429 and 5xx).
            BusyError: others of the stack read pages of its host, and its turn did not come.
        """
        headers = {"Accept": "text/html, application/xhtml+xml, text/*;q=0.9, application/xml;q=0.9, */*;q=0.1"}
        until = time.monotonic() + seconds

        def turn(host: str) -> AbstractAsyncContextManager[None]:
            return self._hosts.turn(host, min(_TURN_SECONDS, _SHARE_FOR_TURNS * (until - time.monotonic())))

        answer = await self._connector.request("GET", url, headers=headers, limits=Limits(timeout=seconds), turn=turn)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500:
            raise FetchError(f"it answered {answer.status}", field="url")
        content_type, declared = media_type(answer.headers.get("content-type", "text/html"))
        if not _TEXTUAL.fullmatch(content_type):
            raise AnswerRefusedError(f"it is {content_type}; only text can be read", field="url")
        in_page = _DECLARED_IN_PAGE.search(answer.body[:_HEAD_BYTES])
        text = decode(answer.body, (declared, in_page[1].decode("ascii") if in_page else None))
        language = answer.headers.get("content-language")
        return Page(answer.url, answer.status, content_type, text.charset, language, text.text)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connector.aclose()
        await self._hosts.aclose()


def media_type(header: str) -> tuple[str, str | None]:
    """Return the type and the charset that a `Content-Type` names (RFC 9110, section 8.3)."""
    message = email.message.Message()
    message["content-type"] = header.replace("\n", " ").replace("\r", " ")
    return message.get_content_type(), message.get_content_charset()
