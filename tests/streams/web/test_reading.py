"""Whatever a page is, each mode gives a result that a record can carry, or a typed error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.errors import BarnabasError
from streams.charset import decode
from streams.documents import write
from streams.web.result import ScrapeResult
from streams.web.work import Mode
from tests.streams.web.reading import css, scraped, xpath

PICKS = {
    "a": css("a", attr="href", url=True),
    "o": css("p", each={"t": xpath(".//text()", all=True)}),
    "x": xpath("//node()", all=True),
}
READ = [mode for mode in Mode if mode is not Mode.RAW]
TYPES = st.sampled_from(["text/html", "application/xhtml+xml", "text/xml", "application/rss+xml", "application/json"])

NAMES = (
    "html head body p a div table thead tr td th caption svg script style base meta link title rss feed channel item entry"
    " content summary pubDate published a:b :b b: a:b:c"
)
ATTRIBUTES = "href src rel type colspan rowspan itemscope itemprop itemref id itemtype property name content lang xmlns a:b xlink:href"
VALUES = "application/ld+json og:title canonical alternate a b 1000 http://[ //x"

_names = st.sampled_from(NAMES.split())
_values = st.one_of(st.sampled_from(VALUES.split()), st.text(max_size=8))
_attributes = st.lists(st.tuples(st.sampled_from(ATTRIBUTES.split()), _values), max_size=3)
_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(['{"@type": "Thing"}', "&amp;", "&#xd800;", "&#57343;", "<!--", "-->", "]]>", "<![CDATA["]),
)


def _element(name, attributes, inner, closed):
    written = "".join(f' {key}="{value}"' for key, value in attributes)
    return f"<{name}{written}>{''.join(inner)}{f'</{name}>' if closed else ''}"


pages = st.recursive(
    _texts,
    lambda inner: st.builds(_element, _names, _attributes, st.lists(inner, max_size=4), st.booleans()),
    max_leaves=25,
)


def holds(text, mode, content_type):
    try:
        result = scraped(text, mode, PICKS if mode is Mode.SELECTORS else None, content_type=content_type)
    except BarnabasError as error:
        assert not error.retryable
        assert error.message
    else:
        write(result, ScrapeResult, 36 * 2**20)


@pytest.mark.parametrize("mode", READ)
@given(page=pages, content_type=TYPES)
@example(page="<a:b:c><:x y:='1'/><u:v w:z='&#xd800;'>&#xdfff;</u:v></a:b:c>", content_type="text/xml")
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@example(page="<title>t</title><p>all</HTML><SVG>", content_type="text/html")
def test_any_page_gives_a_result_or_a_typed_error(mode, page, content_type):
    holds(page, mode, content_type)


@pytest.mark.parametrize("mode", READ)
@given(body=st.binary(max_size=300), content_type=TYPES)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_bytes_give_a_result_or_a_typed_error(mode, body, content_type):
    holds(decode(body).text, mode, content_type)


@pytest.mark.parametrize("mode", READ)
@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 50_000 + "x",
        "<a href=x>" * 20_000,
        "<b><i>" * 5_000,
        "&amp;" * 100_000,
        "<p " + "a=1 " * 50_000,
        "<![CDATA[" * 5_000,
    ],
    ids=["deep", "links", "formatting", "entities", "attributes", "cdata"],
)
@pytest.mark.slow
def test_a_large_page_that_makes_no_sense_ends(mode, page):
    holds(page, mode, "text/html")
