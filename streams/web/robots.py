"""What a host asks of programs that read its pages: robots.txt by RFC 9309, with Crawl-delay.

    404 and other 4xx                          -> it asks nothing
    5xx, 429, or it can't be read              -> its pages are not read either, for now
    200, up to 500 KiB of it, up to 5 redirects -> what it says to `Barnabas`, or else to all

The file is asked for through the same guard as pages, and kept for up to a day.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from backbone.errors import FetchError, RedirectsError
from backbone.net import Limits
from streams.errors import RobotsRefusedError
from streams.web.cache import explicit_lifetime
from streams.web.hosts import LONGEST_REST
from streams.web.http_time import retry_after
from streams.web.robots_rules import SMALL, Verdict, of_concern, verdict

if TYPE_CHECKING:
    import httpx

    from backbone.net import Answer, Connector
    from streams.handlers.port import Compute
    from streams.web.store import CacheStore

LARGEST = 500 * 1024
SHORTEST_LIFE, LONGEST_LIFE = 300.0, 86_400.0

_SECONDS = 10.0


class Robots:
    """The robots.txt files of all hosts.

    Args:
        connector: which asks for them.
        store: keeps what they say.
    """

    def __init__(self, connector: Connector, store: CacheStore) -> None:
        self._connector = connector
        self._store = store

    async def known(self, url: httpx.URL, compute: Compute) -> Verdict | None:
        """Return what is known without asking, or None; `compute` reads what is long."""
        kept = await self._store.get(_name(url))
        return None if kept is None else await _read(kept.decode(), url, compute)

    async def ask(self, url: httpx.URL, compute: Compute) -> Verdict:
        """Ask the host, and remember what it said.

        Args:
            url: the address that is to be read.
            compute: reads what is long.

        Raises:
            AddressRefusedError: the host, or one that it redirects to, may not be reached.
            FetchError: the file can't be read; `retry_after` where the host says when it can.
        """
        place = str(url.copy_with(raw_path=b"/robots.txt"))
        limits = Limits(max_bytes=LARGEST, timeout=_SECONDS, max_redirects=5, cut=True)
        try:
            answer = await self._connector.request("GET", place, headers={"Accept": "text/plain"}, limits=limits)
        except RedirectsError:
            rules, life = "", SHORTEST_LIFE
        except FetchError as error:
            raise FetchError(f"its robots.txt can't be read, and so it is not: {error.message}", field="url") from None
        else:
            rules, life = await asyncio.to_thread(_rules, answer), _life(answer)
        await self._store.put(_name(url), rules.encode(), life)
        return await _read(rules, url, compute)


async def _read(rules: str, url: httpx.URL, compute: Compute) -> Verdict:
    return await (asyncio.to_thread if len(rules) <= SMALL else compute)(verdict, rules, str(url))


def refuse_unless(allowed: Verdict, url: httpx.URL) -> None:
    """Return where an address may be read.

    Raises:
        RobotsRefusedError: it may not.
    """
    if not allowed.allowed:
        raise RobotsRefusedError(f"the robots.txt of {url.host} asks programs not to read this page", field="url")


def _rules(answer: Answer) -> str:
    if answer.status == 429 or answer.status >= 500:
        wait = retry_after(answer.headers, time.time())
        raise FetchError(
            f"its robots.txt can't be read, and so it is not: it answered {answer.status}",
            field="url",
            retry_after=None if wait is None else min(wait, LONGEST_REST),
        )
    if answer.status >= 300:
        return ""
    # Where it was cut, half a rule would forbid more than the whole one.
    body = answer.body if len(answer.body) < LARGEST else answer.body.rpartition(b"\n")[0]
    return of_concern(body.decode("utf-8-sig", "replace"))


def _life(answer: Answer) -> float:
    """Return the seconds for which an answer is kept (RFC 9309, section 2.4)."""
    said = explicit_lifetime(answer.headers, time.time())
    return min(max(LONGEST_LIFE if said is None else said, SHORTEST_LIFE), LONGEST_LIFE)


def _name(url: httpx.URL) -> str:
    return f"robots:{url.scheme}://{url.netloc.decode('ascii')}"
