"""What a robots.txt says, and what it may not do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.web.robots_rules import LONGEST_DELAY, of_concern, verdict


def allowed(text: str, path: str = "/a/page.html") -> bool:
    return verdict(of_concern(text), f"http://example.com{path}").allowed


# The examples of RFC 9309, section 5, and what is commonly written.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("User-agent: *\nDisallow:", True),
        ("User-agent: *\nDisallow: /", False),
        ("User-agent: *\nDisallow: /a/", False),
        ("User-agent: *\nDisallow: /b/", True),
        ("User-agent: other\nDisallow: /", True),
        ("User-agent: other\nUser-agent: *\nDisallow: /", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: Barnabas\nAllow: /a/\nDisallow: /", True),
        ("User-agent: *\nAllow: /\n\nuser-agent:BARNABAS/2.0  # us\nDISALLOW : /a", False),
        ("User-agent: barnabasbot\nDisallow: /", True),
        ("User-agent: barn\nDisallow: /", True),
        (
            "User-agent: barnabas\nCrawl-delay: 1\n\nUser-agent: x\nDisallow: /\n\nUser-agent: barnabas\nDisallow: /a",
            False,
        ),
        ("User-agent: *\nDisallow: /*.html$", False),
        ("User-agent: *\nDisallow: /*.htm$", True),
        ("User-agent: *\nDisallow: /a/\nAllow: /a/page", True),
        ("User-agent: *\nDisallow: /a/page\nAllow: /a/page", True),
        ("User-agent: *\nSitemap: http://example.com/s.xml\nUser-agent: other\nDisallow: /", False),
        ("User-agent: *\rDisallow: /\r", False),
        ("User-agent: *\r\nDisallow: /%61/", False),
        ("Disallow: /", True),
        ("<!doctype html><p>no such file", True),
        ("\x00\x01\ufffd:::\nUser-agent\nDisallow", True),
    ],
)
def test_what_is_allowed(text, expected):
    assert allowed(text) is expected


@pytest.mark.parametrize(
    ("line", "delay"),
    [("Crawl-delay: 2.5", 2.5), ("crawl-delay: 86400", LONGEST_DELAY), ("Crawl-delay: -1", 0), ("Crawl-delay: x", 0)],
)
def test_the_delay_is_bounded(line, delay):
    assert verdict(of_concern(f"User-agent: *\n{line}"), "http://example.com/").delay == delay


@given(st.text() | st.lists(st.sampled_from(["user-agent: *", "disallow: /", "allow: /a", "$", "*"])).map("\n".join))
def test_any_text_is_read(text):
    kept = of_concern(text)
    assert of_concern(kept) == kept
    verdict(kept, "http://example.com/a?b")


def test_a_file_made_to_hurt_stays_small():
    agents = "".join(f"User-agent: a{number}\n" for number in range(15_000))
    rules = "".join(f"Disallow: /{number}\n" for number in range(15_000))
    text = f"{agents}User-agent: *\n{rules}"
    assert len(of_concern(text)) < len(rules) + 100
    assert not allowed(text, "/14999")
    stars = "User-agent: *\nDisallow: /" + "*a" * 200_000 + "b\n"
    assert allowed(stars, "/" + "a" * 8000)
