from __future__ import annotations

import asyncio
import gzip

import pytest
from pydantic import SecretStr
from redis.backoff import ExponentialBackoff

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError
from backbone.settings import Settings
from streams.errors import PageUnreadableError, PayloadError
from streams.handlers.web import WebScrape
from streams.web.fetch import user_agent
from streams.web.page import media_type
from tests.contracts.handler import HandlerContract, context, read
from tests.contracts.web_server import serving

YEARS = [
    f"In {year} the keeper wrote down the weather on {year % 300} evenings, and nobody read it."
    for year in range(1881, 1886)
]
PAGE = f"""<!doctype html>
<html lang="en"><head><title>  The keeper's
 notes </title>
<meta name="author" content="Ada Fisher"><meta property="article:published_time" content="2026-03-14"></head>
<body><nav><a href="/">Home</a> <a href="/about" rel="nofollow">About us</a></nav>
<article><h1>The keeper&rsquo;s <em>notes</em></h1>{"".join(f"<p>{year}</p>" for year in YEARS)}</article>
<ul><li class="tag">sea</li><li class="tag">weather</li></ul><footer>Imprint</footer></body></html>"""


@pytest.fixture
async def web():
    async with serving() as server:
        server.says("/page", PAGE.encode())
        yield server


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The Redis that is not there is asked a second time without a pause, which each page would wait out."""
    monkeypatch.setattr(ExponentialBackoff, "compute", lambda _self, _failures: 0)


class TestWebScrape(HandlerContract):
    handler_class = WebScrape

    @pytest.fixture
    def bad(self):
        return {
            "url": {"url": "http://169.254.169.254/latest/meta-data/"},
            "selectors.price": {"url": "http://127.0.0.1/", "selectors": {"title": "h1", "price": "div >"}},
            "selectors.name": {"url": "http://127.0.0.1/", "selectors": {"name": {"xpath": "//a["}}},
            "timeout": {"url": "http://127.0.0.1/", "timeout": 1000},
        }

    @pytest.fixture
    def settings(self, web, tmp_path):
        # No Redis: turns are this process's own, and test_hosts.py shows the others.
        return Settings(
            home=tmp_path,
            net_allow=[web.allowed],
            user_agent_contact="ops@example.com",
            redis_url=SecretStr("redis://127.0.0.1:1/0"),
        )

    @pytest.fixture
    def example(self, web):
        return {"url": web.url("/page"), "selectors": {"heading": "h1"}}

    @pytest.fixture
    def scrape(self, handler):
        async def scrape(url, **fields):
            return await handler.run(read(handler, {"url": url, **fields}), context())

        return scrape

    async def test_selectors(self, scrape, web):
        picks = {
            "heading": "h1",
            "tags": {"css": "li.tag", "all": True},
            "links": {"xpath": "//nav/a", "all": True, "attr": "href"},
            "rel": {"css": "nav a:last-child", "attr": "rel"},
            "raw": "h1 em::text",
            "count": {"xpath": "count(//p)"},
            "nothing": ".no-such-thing",
            "none": {"css": ".no-such-thing", "all": True},
        }
        result = await scrape(web.url("/page"), selectors=picks)
        assert result.data == {
            "heading": "The keeper\N{RIGHT SINGLE QUOTATION MARK}s notes",
            "tags": ["sea", "weather"],
            "links": ["/", "/about"],
            "rel": "nofollow",
            "raw": "notes",
            "count": "5.0",
            "nothing": None,
            "none": [],
        }
        assert (result.status, result.title, result.language, result.text) == (200, "The keeper's notes", "en", None)

    async def test_article(self, scrape, web):
        result = await scrape(web.url("/page"))
        assert all(year in result.text for year in YEARS)
        assert "Imprint" not in result.text
        assert (result.author, result.date, result.language) == ("Ada Fisher", "2026-03-14", "en")
        assert "keeper" in result.title
        assert result.data is None

    async def test_article_mode_passes_over_selectors(self, scrape, web):
        result = await scrape(web.url("/page"), mode="article", selectors={"heading": "h1"})
        assert result.text
        assert result.data is None

    async def test_the_other_modes(self, scrape, web):
        links = await scrape(web.url("/page"), mode="links")
        assert [(link.url, link.text, link.rel) for link in links.links] == [
            (web.url("/"), "Home", []),
            (web.url("/about"), "About us", ["nofollow"]),
        ]
        metadata = await scrape(web.url("/page"), mode="metadata")
        assert metadata.metadata.meta == {"author": "Ada Fisher"}
        table = web.says("/table", b"<table><tr><td>1<td>2</table>")
        assert (await scrape(table, mode="tables")).tables[0].rows == [["1", "2"]]
        rss = b"<rss version='2.0'><channel><title>Log</title><item><link>/1</link></item></channel></rss>"
        feed = await scrape(web.says("/feed", rss, "Content-Type: application/rss+xml"), mode="feed")
        assert (feed.title, feed.feed.items[0].url) == ("Log", web.url("/1"))
        with pytest.raises(PageUnreadableError):
            await scrape(web.url("/page"), mode="feed")

    async def test_raw_is_the_source_and_of_what_is_no_text_a_blob_of_its_bytes(self, handler, scrape, web):
        assert (await scrape(web.url("/page"), mode="raw")).text == PAGE
        image = web.says("/raw", b"\x89PNG", "Content-Type: image/png")
        theirs = context()
        result = await handler.run(read(handler, {"url": image, "mode": "raw"}), theirs)
        assert (result.text, result.content_type) == (None, "image/png")
        assert await theirs.blobs.get(result.body_ref) == b"\x89PNG"

    async def test_selectors_within_selectors(self, scrape, web):
        picks = {
            "tags": {
                "css": "li.tag",
                "each": {"name": {"xpath": "."}, "page": {"css": "a", "attr": "href", "url": True}},
            }
        }
        result = await scrape(web.url("/page"), selectors=picks)
        assert result.data == {"tags": [{"name": "sea", "page": None}, {"name": "weather", "page": None}]}

    async def test_there_are_only_so_many_selectors_and_levels_of_them(self, scrape, web):
        deep = {"x": "b"}
        for _ in range(4):
            deep = {"x": {"css": "b", "each": deep}}
        many = {f"n{n}": {"css": "b", "each": {f"m{m}": "i" for m in range(99)}} for n in range(6)}
        for picks in (deep, many):
            with pytest.raises(PayloadError, match="at most"):
                await scrape(web.url("/page"), selectors=picks)

    async def test_a_selector_with_others_takes_no_attribute_itself(self, scrape, web):
        with pytest.raises(PayloadError, match="each") as caught:
            await scrape(web.url("/page"), selectors={"x": {"css": "b", "attr": "id", "each": {"y": "i"}}})
        assert caught.value.field == "selectors.x"

    async def test_selectors_mode_needs_selectors(self, scrape, web):
        with pytest.raises(PayloadError, match="needs selectors"):
            await scrape(web.url("/page"), mode="selectors")

    async def test_an_unknown_function_in_a_selector_is_named(self, scrape, web):
        with pytest.raises(PayloadError) as caught:
            await scrape(web.url("/page"), selectors={"odd": {"xpath": "no-such-function(//p)"}})
        assert caught.value.field == "selectors.odd"

    @pytest.mark.parametrize(
        "xpath", ["//p[re:test(., '^(a+)+$')]", "//p[re:match (., \"'\", 're:')]", "re:test('a', 'b')"]
    )
    async def test_regular_expressions_are_refused_before_the_page_is_asked_for(self, scrape, web, xpath):
        asked = len(web.heads)
        with pytest.raises(PayloadError, match="contains") as caught:
            await scrape(web.url("/page"), selectors={"bomb": {"xpath": xpath}})
        assert caught.value.field == "selectors.bomb"
        assert len(web.heads) == asked

    async def test_what_only_looks_like_a_regular_expression_is_a_selector(self, scrape, web):
        picks = {"text": {"xpath": "count(//p[contains(., 're:')])"}, "css": 'p[title="re:"]'}
        assert (await scrape(web.url("/page"), selectors=picks)).data == {"text": "0.0", "css": None}

    async def test_says_who_asks(self, scrape, web):
        await scrape(web.url("/page"))
        assert f"user-agent: {user_agent('ops@example.com')}".lower() in web.heads[-1].lower()

    async def test_says_where_the_redirects_led(self, scrape, web):
        web.says("/deep/page", PAGE.encode())
        result = await scrape(web.redirects("/moved", "deep/page"))
        assert (result.url, result.final_url) == (web.url("/moved"), web.url("/deep/page"))

    async def test_a_redirect_inside_is_refused(self, scrape, web):
        with pytest.raises(AddressRefusedError) as caught:
            await scrape(web.redirects("/inside", "http://127.0.0.1:22/"))
        assert caught.value.field == "url"

    @pytest.mark.parametrize(
        ("charset", "header", "meta"),
        [
            ("windows-1251", "text/html; charset=utf-8", ""),  # the header lies
            ("utf-8", "text/html; charset=iso-8859-1", ""),
            ("windows-1251", "text/html", '<meta charset="windows-1251">'),
            ("koi8-r", "text/html", '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">'),
            ("utf-8", "", ""),
        ],
    )
    async def test_reads_the_charset_that_the_bytes_are_in(self, scrape, web, charset, header, meta):
        text = "Смотритель маяка каждый вечер записывал погоду, и никто этого не читал. " * 4
        page = f"<html><head>{meta}<title>Маяк</title></head><body><p>{text}</p></body></html>"
        url = web.says("/russian", page.encode(charset), f"Content-Type: {header}" if header else "X-None: 1")
        result = await scrape(url, selectors={"text": "p"})
        assert result.data == {"text": text.strip()}
        assert result.title == "Маяк"

    @pytest.mark.parametrize(
        "body", [b"", b"\0\0\0", b"<", b"<html><p>unclosed <b>bold", b"plain words", b"<a>" * 50_000]
    )
    @pytest.mark.slow
    async def test_broken_pages_are_read_as_far_as_they_go(self, scrape, web, body):
        url = web.says("/broken", body)
        assert (await scrape(url)).status == 200
        assert (await scrape(url, selectors={"b": "b"})).data == {"b": "bold" if b"bold" in body else None}

    async def test_a_page_that_the_extractor_fails_on_gives_what_it_shows(self, scrape, web):
        result = await scrape(
            web.says("/broken", b"<title>t</title><p>all of <b>it</b><script>no</script></HTML><SVG>")
        )
        assert (result.title, result.text) == ("t", "all of it")

    async def test_a_missing_page_is_an_answer(self, scrape, web):
        url = web.says("/missing", b"<title>Not here</title>", status="404 Not Found")
        result = await scrape(url, selectors={"h": "h1"})
        assert (result.status, result.title, result.data) == (404, "Not here", {"h": None})

    @pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
    async def test_a_busy_server_is_asked_again(self, scrape, web, status):
        with pytest.raises(FetchError, match=status[:3]) as caught:
            await scrape(web.says("/busy", b"", status=status))
        assert caught.value.retryable

    async def test_what_is_no_text_is_refused(self, scrape, web):
        with pytest.raises(AnswerRefusedError, match="image/png") as caught:
            await scrape(web.says("/image", b"\x89PNG", "Content-Type: image/png"))
        assert not caught.value.retryable

    async def test_a_bomb_is_refused(self, scrape, web):
        bomb = gzip.compress(b" " * 20_000_000)
        with pytest.raises(AnswerRefusedError, match="longer than"):
            await scrape(web.says("/bomb", bomb, "Content-Type: text/html\r\nContent-Encoding: gzip"))

    @pytest.mark.slow
    async def test_an_endless_answer_ends_at_the_time_that_was_given(self, scrape, web):
        async def drip(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>")
            await writer.drain()
            await asyncio.Event().wait()

        web.replies["/drip"] = drip
        with pytest.raises(FetchError, match="within 1 s"):
            await scrape(web.url("/drip"), timeout=1)


def test_the_user_agent_names_a_contact_where_there_is_one():
    assert user_agent().startswith("Barnabas/")
    assert user_agent("ops@example.com").endswith(" (+ops@example.com)")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("text/html; charset=UTF-8", ("text/html", "utf-8")),
        ('Text/HTML;charset="koi8-r"', ("text/html", "koi8-r")),
        ("application/xhtml+xml", ("application/xhtml+xml", None)),
        ("nonsense", ("text/plain", None)),
        ("text/html; charset=", ("text/html", "")),
    ],
)
def test_media_type(header, found):
    assert media_type(header) == found
