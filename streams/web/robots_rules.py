"""What a robots.txt says (RFC 9309): from its text to a verdict about an address.

Pure. A text of 500 KiB may hold thirty thousand rules, which take seconds to read: see `SMALL`. What is named here runs in
a worker as well, and loads nothing of HTTP.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from protego import Protego

PRODUCT = "barnabas"
"""The product token by which a robots.txt may name this program."""
LONGEST_DELAY = 30.0
"""Seconds of Crawl-delay that are kept to; whoever asks for more means that nobody should come, and can say that."""
SMALL = 16 * 1024
"""Characters of rules up to which a verdict takes milliseconds; beyond that it belongs where it can be killed."""

_AGENT = re.compile(r"\s*user[- ]?agent\s*[:\s]\s*([^#]*)", re.IGNORECASE)
_RULE = re.compile(r"\s*(diss?al?l[oa]w|diasllow|allow|crawl[- ]delay)\b", re.IGNORECASE)


class Verdict(NamedTuple):
    """What a robots.txt says of one address.

    Attributes:
        allowed: whether it may be read.
        delay: seconds from one request to the next.
    """

    allowed: bool
    delay: float = 0.0


def verdict(rules: str, url: str) -> Verdict:
    """Return what rules, as `of_concern` leaves them, say of an address."""
    parsed = _parsed(rules)
    delay = parsed.crawl_delay(PRODUCT) or 0.0
    return Verdict(parsed.can_fetch(url, PRODUCT), min(max(float(delay), 0.0), LONGEST_DELAY))


def of_concern(text: str) -> str:
    """Return the groups of a robots.txt that speak to this program or to all, and of them what is kept to.

    A file of 500 KiB may name ten thousand programs and then have ten thousand rules for each of them; a parser that
    makes them all has no memory left. What is kept here is no longer than the file.
    """
    kept: list[str] = []
    named: list[str] = []
    among_agents = False
    for line in text.splitlines():
        agent = _AGENT.match(line)
        if agent is not None:
            if not among_agents:
                named = []
            among_agents = True
            name = agent[1].strip().partition("/")[0].lower()
            if name in {"*", PRODUCT} and name not in named:
                named.append(name)
                kept.append(f"User-agent: {name}")
        elif _RULE.match(line):
            among_agents = False
            if named:
                kept.append(line.partition("#")[0].strip())
    return "\n".join(kept)


def _parsed(rules: str) -> Protego:
    # A parsed file takes fifty times its own room: of large ones none is kept.
    return _parsed_before(rules) if len(rules) <= SMALL else Protego.parse(rules)


@lru_cache(maxsize=64)
def _parsed_before(rules: str) -> Protego:
    return Protego.parse(rules)
