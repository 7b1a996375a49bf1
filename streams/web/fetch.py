"""Polite HTTP for reading pages: says who asks, asks what it may read, takes turns, and asks for nothing twice.

Each address on the way to a page, redirects included, goes the same way:

    kept and fresh                        -> that, without asking anybody
    robots.txt, if known, refuses         -> no
    its turn at the host
    robots.txt, if not known: asked for in the same turn
    the page, if it has changed since it was kept
    the host asks to be left alone        -> it is, by all processes, and the task comes back then
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import msgspec

from backbone.errors import FetchError, HostRestsError
from backbone.net import Connector, Limits
from backbone.redis import connect
from streams.handlers.port import in_a_thread
from streams.web import cache
from streams.web.hosts import LONGEST_REST, Hosts
from streams.web.http_time import retry_after
from streams.web.page import Page, page_of
from streams.web.robots import Robots, refuse_unless
from streams.web.store import CacheStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from backbone.net import Answer, Ask, Send
    from backbone.settings import Settings
    from streams.handlers.port import Compute
    from streams.web.robots_rules import Verdict

PAGES = "text/html, application/xhtml+xml, text/*;q=0.9, application/xml;q=0.9, */*;q=0.1"
"""What is asked for unless told otherwise."""

__all__ = ["PAGES", "Fetcher", "Page", "refuse_failure", "user_agent"]

_TURN_SECONDS = 2.0
"""How long a request waits for its turn: a partition stands still meanwhile, and other tasks with it."""
_SHARE_FOR_TURNS = 0.75
"""Of the time that is left, what may go by at most before it is this request's turn."""


def user_agent(contact: str = "") -> str:
    """Return the honest name that requests carry, with whom to ask about them."""
    try:
        release = version("barnabas-backbone")
    except PackageNotFoundError:
        release = "source"
    return f"Barnabas/{release} (+{contact})" if contact else f"Barnabas/{release}"


class Fetcher:
    """Reads pages; one lives as long as its process.

    Args:
        settings: of the process.
        now: seconds since the epoch, by which what is kept is fresh.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._redis = connect(settings)
        self._connector = Connector(settings.net_allow, user_agent=user_agent(settings.user_agent_contact))
        self._hosts = Hosts(settings, self._redis)
        self._store = CacheStore(settings, self._redis)
        self._robots = Robots(self._connector, self._store)
        # What was read where an operator opened a network is not shown after it was closed.
        self._opened = sha256("\n".join(settings.net_allow).encode()).hexdigest()[:16]

    async def page(
        self,
        url: str,
        seconds: float,
        *,
        accept: str = PAGES,
        binary: bool = False,
        compute: Compute = in_a_thread,
    ) -> Page:
        """Fetch `url` within so many seconds and return it.

        Args:
            url: where to.
            seconds: in all.
            accept: the kinds of content that are wanted, as in the header of that name.
            binary: whether it may be other than text.
            compute: reads what takes long, such as a robots.txt with ten thousand rules.

        Raises:
            AddressRefusedError: it may not be reached from here.
            AnswerRefusedError: it is too large, redirects too often, or is no text.
            RobotsRefusedError: its host asks programs not to read it.
            HostRestsError: its host asks to try again later (429 and 503); `retry_after` says when.
            FetchError: it did not answer, or with an error of its own (5xx).
            BusyError: others of the stack read pages of its host, or it rests, and its turn did not come.
        """
        until = time.monotonic() + seconds
        from_cache = False

        async def through(ask: Ask, send: Send) -> Answer:
            nonlocal from_cache
            answer, from_cache = await self._hop(ask, send, until, compute)
            return answer

        answer = await self._connector.request(
            "GET", url, headers={"Accept": accept}, limits=Limits(timeout=seconds), through=through
        )
        return page_of(answer, url, from_cache=from_cache, binary=binary)

    @asynccontextmanager
    async def turn(self, url: httpx.URL, until: float, compute: Compute = in_a_thread) -> AsyncIterator[None]:
        """Have the host of an address to oneself, if its robots.txt lets the address be read.

        Args:
            url: what is to be read.
            until: when that must be done, by the monotonic clock.
            compute: reads what takes long.

        Raises:
            RobotsRefusedError: its host asks programs not to read it.
            BusyError: others read there, or it rests, and the turn did not come.
            FetchError: its robots.txt can't be read.
        """
        verdict = await self._robots.known(url, compute)
        if verdict is not None:
            refuse_unless(verdict, url)
        wait = min(_TURN_SECONDS, _SHARE_FOR_TURNS * (until - time.monotonic()))
        async with self._hosts.turn(url.netloc.decode("ascii"), wait) as turn:
            try:
                if verdict is None:  # unless whoever had the turn before has asked by now
                    verdict = await self.permitted(url, compute)
                turn.at_least(verdict.delay)
                yield
            except FetchError as error:
                turn.at_least(error.retry_after or 0.0)
                raise

    async def permitted(self, url: httpx.URL, compute: Compute = in_a_thread) -> Verdict:
        """Return what robots.txt says of an address to whoever has the turn at its host.

        Raises:
            RobotsRefusedError: it is not to be read.
            FetchError: robots.txt can't be read.
        """
        verdict = await self._robots.known(url, compute) or await self._robots.ask(url, compute)
        refuse_unless(verdict, url)
        return verdict

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connector.aclose()
        await self._redis.aclose()

    async def _hop(self, ask: Ask, send: Send, until: float, compute: Compute) -> tuple[Answer, bool]:
        """Return the answer of one address, and whether it was here already."""
        kept = await self._kept(ask)
        if kept is not None and cache.is_fresh(kept, self._now()):
            return kept.answer(), True
        try:
            async with self.turn(ask.url, until, compute):
                return await self._asked(ask, send, kept)
        except FetchError as error:
            if kept is None or not error.retryable or not cache.serves_in_need(kept, self._now()):
                raise
            return kept.answer(), True

    async def _asked(self, ask: Ask, send: Send, kept: cache.Stored | None) -> tuple[Answer, bool]:
        """Ask for an address, or whether what is kept of it still holds, and keep what may be used again."""
        asked_at = self._now()
        headers = ask.headers.copy()
        if kept is not None:
            headers.update(cache.conditions(kept))
        answer = await send(replace(ask, headers=headers))
        if kept is not None and answer.status == 304:
            renewed = cache.freshened(kept, answer, asked_at, self._now())
            if renewed is not None:
                await self._keep(ask, renewed)
                return renewed.answer(), True
            answer = await send(ask)  # it spoke of another answer than the one that is kept
        refuse_failure(answer, self._now())
        new = cache.stored(ask.headers, answer, asked_at, self._now())
        if new is not None:
            await self._keep(ask, new)
        elif kept is not None:  # the page is another one now, and for one person alone perhaps
            await self._store.put(self._name(ask), b"", 0)
        return answer, False

    async def _kept(self, ask: Ask) -> cache.Stored | None:
        packed = await self._store.get(self._name(ask))
        kept = None if packed is None else msgspec.msgpack.decode(packed, type=cache.Stored)
        return kept if kept is not None and cache.matches(kept, ask.headers) else None

    async def _keep(self, ask: Ask, kept: cache.Stored) -> None:
        await self._store.put(self._name(ask), msgspec.msgpack.encode(kept), cache.keep_for(kept))

    def _name(self, ask: Ask) -> str:
        # Of all that is sent, only what is accepted differs from one request to the next.
        return f"page 2:{self._opened}:{ask.headers.get('accept', '')}:{ask.url}"


def refuse_failure(answer: Answer, now: float) -> None:
    """Return where an answer is one about the page, and not about how its server is doing.

    Raises:
        HostRestsError: it wants to be left alone.
        FetchError: it failed.
    """
    if answer.status in {429, 503}:
        wait = retry_after(answer.headers, now)
        raise HostRestsError(
            f"it answered {answer.status}" + ("" if wait is None else f" and asks to wait for {wait:g} s"),
            field="url",
            retry_after=None if wait is None else min(wait, LONGEST_REST),
        )
    if answer.status >= 500 or answer.status == 304:  # "as you have it", to who has nothing
        raise FetchError(f"it answered {answer.status}", field="url")
