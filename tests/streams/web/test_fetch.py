"""Reading pages from a real server that is slow to, or does not, behave; turns and the cache lie in a real Valkey."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import formatdate
from random import Random

import pytest
from pydantic import SecretStr

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError, HostRestsError
from backbone.redis import key
from streams.errors import BusyError, RobotsRefusedError
from streams.web.fetch import Fetcher, user_agent
from tests.contracts.web_server import serving
from tests.misbehaving import BOMB, dripping, in_turn, packed, reply, silent

pytestmark = pytest.mark.slow

HTML = b"<!doctype html><p>hello"
NOON = 1_800_000_000.0


@pytest.fixture
async def web():
    async with serving() as server:
        yield server


@pytest.fixture
async def fetcher(settings, web):
    fetcher = Fetcher(settings.model_copy(update={"net_allow": (web.allowed,), "host_pause": timedelta(0)}))
    yield fetcher
    await fetcher.aclose()


def asked(web) -> list[str]:
    return [head.split()[1] for head in web.heads]


async def test_a_page_as_it_came(fetcher, web):
    body = "<!doctype html><p>grüß Gott".encode("cp1252")
    url = web.says("/page", body, "Content-Type: text/HTML; charset=latin-1\r\nContent-Language: de\r\nX-Other: 1")
    page = await fetcher.page(web.redirects("/moved", "/page"), 20)
    assert (page.url, page.final_url, page.status) == (web.url("/moved"), url, 200)
    assert (page.content_type, page.charset, page.language) == ("text/html", "cp1252", "de")
    assert (page.body, page.text) == (body, "<!doctype html><p>grüß Gott")
    assert page.headers == {"content-type": "text/HTML; charset=latin-1", "content-language": "de"}
    assert not page.from_cache


async def test_what_is_no_text_comes_as_bytes_where_it_may(fetcher, web):
    url = web.says("/", b"\x89PNG", "Content-Type: image/png")
    with pytest.raises(AnswerRefusedError, match="image/png"):
        await fetcher.page(url, 20)
    page = await fetcher.page(url, 20, accept="image/*", binary=True)
    assert (page.body, page.text, page.charset) == (b"\x89PNG", "", "")
    assert "accept: image/*" in web.heads[-1].lower()


async def test_says_who_asks(settings, web):
    fetcher = Fetcher(settings.model_copy(update={"net_allow": (web.allowed,), "user_agent_contact": "ops@a.example"}))
    await fetcher.page(web.says("/", HTML), 20)
    await fetcher.aclose()
    assert f"user-agent: {user_agent('ops@a.example')}".lower() in web.heads[0].lower()
    assert "(+ops@a.example)" in user_agent("ops@a.example")


@pytest.mark.parametrize("made", [dripping(), silent(), packed("br", BOMB), reply(HTML, length=1000)])
async def test_a_server_that_misbehaves_is_a_typed_error(fetcher, web, made):
    web.replies["/"] = made
    with pytest.raises(FetchError) as caught:
        await fetcher.page(web.url(), 1)
    assert caught.value.field == "url"


class TestRobots:
    async def test_what_is_refused_is_not_asked_for(self, fetcher, web):
        web.replies["/robots.txt"] = reply(b"User-agent: *\nDisallow: /private\n")
        web.redirects("/moved", "/private/page")
        for path in ("/private/page", "/moved"):
            with pytest.raises(RobotsRefusedError) as caught:
                await fetcher.page(web.url(path), 20)
            assert (caught.value.field, caught.value.retryable) == ("url", False)
        assert asked(web) == ["/robots.txt", "/moved"]

    async def test_it_is_asked_for_once_by_all(self, fetcher, settings, web):
        web.replies["/robots.txt"] = reply(b"User-agent: barnabas\nDisallow: /private\n")
        await fetcher.page(web.says("/a", HTML), 20)
        await fetcher.page(web.says("/b", HTML), 20)
        other = Fetcher(settings.model_copy(update={"net_allow": (web.allowed,), "host_pause": timedelta(0)}))
        await other.page(web.url("/a"), 20)
        await other.aclose()
        assert asked(web) == ["/robots.txt", "/a", "/b", "/a"]

    async def test_those_who_come_at_once_ask_for_it_once(self, fetcher, web):
        web.replies["/robots.txt"] = reply(b"User-agent: *\nDisallow: /private\n")
        web.says("/a", HTML)
        await asyncio.gather(*(fetcher.page(web.url("/a"), 20) for _ in range(4)))
        assert sorted(asked(web)) == ["/a"] * 4 + ["/robots.txt"]

    @pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized", "403 Forbidden", "410 Gone"])
    async def test_a_host_without_one_asks_nothing(self, fetcher, web, status):
        web.replies["/robots.txt"] = reply(b"User-agent: *\nDisallow: /", status=status)
        assert (await fetcher.page(web.says("/", HTML), 20)).body == HTML

    @pytest.mark.parametrize(
        "made", [reply(status="500 Oh"), reply(status="503 Busy"), reply(status="429 Slow"), b"", reply(b"x", length=9)]
    )
    async def test_where_it_can_t_be_read_no_page_is(self, fetcher, web, made):
        web.replies["/robots.txt"] = in_turn(made, reply(b"User-agent: *\nAllow: /"))
        web.says("/", HTML)
        with pytest.raises(FetchError, match=r"robots\.txt can't be read") as caught:
            await fetcher.page(web.url(), 20)
        assert caught.value.retryable
        assert (await fetcher.page(web.url(), 20)).body == HTML
        assert asked(web) == ["/robots.txt", "/robots.txt", "/"]

    async def test_it_may_lie_elsewhere(self, fetcher, web):
        web.replies["/there"] = reply(b"User-agent: *\nDisallow: /")
        web.redirects("/robots.txt", "/there")
        with pytest.raises(RobotsRefusedError):
            await fetcher.page(web.says("/", HTML), 20)

    async def test_where_it_leads_round_in_circles_there_is_none(self, fetcher, web):
        web.redirects("/robots.txt", "/robots.txt")
        assert (await fetcher.page(web.says("/", HTML), 20)).body == HTML
        assert asked(web) == ["/robots.txt"] * 6 + ["/"]

    async def test_where_it_leads_inside_nobody_goes(self, fetcher, web):
        web.redirects("/robots.txt", "http://127.0.0.1:1/")
        with pytest.raises(AddressRefusedError):
            await fetcher.page(web.says("/", HTML), 20)
        assert asked(web) == ["/robots.txt"]

    async def test_500_kib_of_it_are_read(self, fetcher, web):
        padding = b"# nothing\n" * 51_190  # 100 bytes less
        rules = b"User-agent: *\n" + padding + b"Disallow: /a\n" + b"# more\n" * 20 + b"Disallow: /\n"
        web.replies["/robots.txt"] = reply(rules)
        with pytest.raises(RobotsRefusedError):
            await fetcher.page(web.url("/a"), 20)
        assert (await fetcher.page(web.says("/b", HTML), 20)).body == HTML

    async def test_one_that_takes_long_is_read_elsewhere(self, fetcher, web):
        elsewhere = []

        async def compute(function, *args):
            elsewhere.append(function.__name__)
            return await asyncio.to_thread(function, *args)

        rules = b"".join(b"Disallow: /%d\n" % number for number in range(3000))
        web.replies["/robots.txt"] = reply(b"User-agent: *\n" + rules)
        web.says("/a", HTML)
        for _ in range(2):
            assert (await fetcher.page(web.url("/a"), 20, compute=compute)).body == HTML
        assert elsewhere == ["verdict"] * 2

    async def test_its_delay_is_kept_to_by_all(self, fetcher, settings, web, redis):
        web.replies["/robots.txt"] = reply(b"User-agent: *\nCrawl-delay: 20")
        await fetcher.page(web.says("/a", HTML), 20)
        other = Fetcher(settings.model_copy(update={"net_allow": (web.allowed,)}))
        for reader in (fetcher, other):
            with pytest.raises(BusyError) as caught:
                await reader.page(web.says("/b", HTML), 20)
            assert 15 < caught.value.retry_after <= 20
        await other.aclose()
        assert asked(web) == ["/robots.txt", "/a"]


class TestLeftAlone:
    @pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
    @pytest.mark.parametrize("when", ["30", formatdate(NOON + 30, usegmt=True)])
    async def test_a_host_that_asks_for_it_is(self, fetcher, web, status, when):
        date = f"Date: {formatdate(NOON, usegmt=True)}"
        web.replies["/"] = reply(HTML, f"Retry-After: {when}", date, status=status)
        with pytest.raises(HostRestsError) as caught:
            await fetcher.page(web.url(), 20)
        assert caught.value.retryable
        assert caught.value.retry_after == 30
        with pytest.raises(BusyError) as busy:
            await fetcher.page(web.url("/other"), 20)
        assert 10 < busy.value.retry_after <= 30
        assert asked(web) == ["/"]

    async def test_for_no_longer_than_an_hour(self, fetcher, settings, web, redis):
        web.replies["/"] = reply(HTML, "Retry-After: 99999999", status="429 Too Many Requests")
        with pytest.raises(HostRestsError) as caught:
            await fetcher.page(web.url(), 20)
        assert caught.value.retry_after == 3600
        assert await redis.pttl(key(settings, f"web.rest:127.0.0.1:{web.port}")) <= 3_600_000

    @pytest.mark.parametrize("header", ["X: 1", "Retry-After: soon", "Retry-After: 0"])
    async def test_one_that_does_not_say_for_how_long_is_tried_as_any(self, fetcher, web, header):
        web.replies["/"] = in_turn(reply(b"", header, status="429 Slow"), reply(HTML))
        with pytest.raises(HostRestsError) as caught:
            await fetcher.page(web.url(), 20)
        assert not caught.value.retry_after
        assert (await fetcher.page(web.url(), 20)).body == HTML

    async def test_a_host_whose_robots_txt_asks_for_it_is(self, fetcher, web):
        web.replies["/robots.txt"] = reply(b"", "Retry-After: 30", status="503 Busy")
        with pytest.raises(FetchError) as caught:
            await fetcher.page(web.url(), 20)
        assert caught.value.retry_after == 30
        with pytest.raises(BusyError):
            await fetcher.page(web.url(), 20)

    async def test_a_failure_is_tried_again(self, fetcher, web):
        web.replies["/"] = reply(HTML, status="500 Oh")
        with pytest.raises(FetchError, match="500") as caught:
            await fetcher.page(web.url(), 20)
        assert caught.value.retryable


class TestTurns:
    async def test_a_redirect_waits_for_its_turn_too(self, settings, web):
        async with serving() as there:
            url = web.redirects("/moved", there.says("/page", HTML))
            allowed = {"net_allow": (web.allowed, there.allowed), "host_pause": timedelta(milliseconds=20)}
            fetcher = Fetcher(settings.model_copy(update=allowed))
            assert (await fetcher.page(url, 20)).body == HTML
            async with fetcher._hosts.turn(f"127.0.0.1:{there.port}", 60):
                with pytest.raises(BusyError):
                    await fetcher.page(url, 0.5)
            await fetcher.aclose()
            assert (len(web.heads), len(there.heads)) == (2, 1)

    async def test_a_redis_that_hangs_is_no_failure_of_the_page(self, settings, web):
        async def hang(reader, _writer):
            await reader.read(-1)

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        hanging = SecretStr(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        fetcher = Fetcher(settings.model_copy(update={"net_allow": (web.allowed,), "redis_url": hanging}))
        with pytest.raises(BusyError):
            await fetcher.page(web.says("/", HTML), 20)
        await fetcher.aclose()
        server.close()

    async def test_a_page_that_is_here_costs_none(self, fetcher, web):
        web.replies["/"] = reply(HTML, "Cache-Control: max-age=60")
        await fetcher.page(web.url(), 20)
        async with fetcher._hosts.turn(f"127.0.0.1:{web.port}", 60):
            assert (await fetcher.page(web.url(), 0.5)).from_cache


class TestCache:
    async def read(self, fetcher, url, **kwargs):
        page = await fetcher.page(url, 20, **kwargs)
        return page.body, page.from_cache

    @pytest.fixture
    def later(self, fetcher):
        """Let time go by, for all but Redis."""

        def later(seconds):
            before = fetcher._now
            fetcher._now = lambda: before() + seconds

        return later

    async def test_what_is_fresh_is_not_asked_for(self, fetcher, settings, web):
        web.replies["/"] = in_turn(reply(b"one", "Cache-Control: max-age=60"), reply(b"two"))
        assert await self.read(fetcher, web.url()) == (b"one", False)
        assert await self.read(fetcher, web.url() + "#part") == (b"one", True)
        other = Fetcher(settings.model_copy(update={"net_allow": (web.allowed,)}))
        assert await self.read(other, web.url()) == (b"one", True)
        await other.aclose()
        assert asked(web) == ["/"]

    async def test_a_large_page_lies_on_disk(self, fetcher, settings, web):
        body = Random(1).randbytes(1_000_000)
        web.replies["/"] = reply(body, "Cache-Control: max-age=60")
        assert await self.read(fetcher, web.url()) == (body, False)
        assert await self.read(fetcher, web.url()) == (body, True)
        assert any(file.stat().st_size > 1_000_000 for file in settings.cache.rglob("*") if file.is_file())

    @pytest.mark.parametrize(
        "header",
        ["Cache-Control: no-store, max-age=60", "Cache-Control: private, max-age=60", "Set-Cookie: a=b", "Vary: *"],
    )
    async def test_what_is_for_one_is_kept_for_nobody(self, fetcher, redis, web, header):
        web.replies["/"] = reply(HTML, "Expires: Fri, 01 Jan 2100 00:00:00 GMT", 'ETag: "1"', header)
        for _ in range(2):
            assert await self.read(fetcher, web.url()) == (HTML, False)
        assert not any("if-none-match" in head.lower() for head in web.heads)

    async def test_what_is_not_fresh_is_asked_for_if_it_changed(self, fetcher, later, web):
        first = reply(b"one", 'ETag: "1"', "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT", "Cache-Control: max-age=60")
        still = reply(b"", 'ETag: "1"', "Cache-Control: max-age=60", status="304 Not Modified")
        web.replies["/"] = in_turn(first, still, reply(b"two", 'ETag: "2"'), reply(b"three"))
        assert await self.read(fetcher, web.url()) == (b"one", False)
        later(100)
        assert await self.read(fetcher, web.url()) == (b"one", True)  # asked, and unchanged
        assert await self.read(fetcher, web.url()) == (b"one", True)  # fresh again
        assert len(web.heads) == 2
        later(100)
        assert await self.read(fetcher, web.url()) == (b"two", False)
        assert all('if-none-match: "1"' in head.lower() for head in web.heads[1:])
        assert "if-modified-since: sat, 01 jan 2000 00:00:00 gmt" in web.heads[1].lower()

    @pytest.mark.parametrize("name", ["grüß", "\u5317"])
    async def test_headers_that_are_not_ascii_are_kept_as_they_came(self, fetcher, web, name):
        headers = f'ETag: "{name}"', f"Content-Disposition: inline; filename={name}", "Cache-Control: no-cache"
        web.replies["/"] = in_turn(reply(b"one", *headers), reply(b"", status="304 Not Modified"))
        first, second = [await fetcher.page(web.url(), 20) for _ in range(2)]
        assert (first.from_cache, second.from_cache, second.body) == (False, True, b"one")
        assert name in first.headers["content-disposition"]
        assert first.headers == second.headers
        assert f'if-none-match: "{name}"' in web.heads[1].lower()

    async def test_a_304_of_another_one_is_asked_about(self, fetcher, web):
        confused = reply(b"", 'ETag: "9"', status="304 Not Modified")
        web.replies["/"] = in_turn(reply(b"one", 'ETag: "1"'), confused, reply(b"two"))
        assert await self.read(fetcher, web.url()) == (b"one", False)
        assert await self.read(fetcher, web.url()) == (b"two", False)
        assert "if-none-match" not in web.heads[2].lower()

    @pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
    async def test_what_becomes_one_person_s_is_forgotten(self, fetcher, later, web, status):
        first = reply(b"one", 'ETag: "1"', "Cache-Control: max-age=10, stale-if-error=1000")
        then = reply(b"one" if status == "200 OK" else b"", "Cache-Control: private, max-age=60", status=status)
        web.replies["/"] = in_turn(first, then, reply(status="500 Oh"))
        assert await self.read(fetcher, web.url()) == (b"one", False)
        later(100)
        assert (await self.read(fetcher, web.url()))[0] == b"one"
        with pytest.raises(FetchError, match="500"):
            await self.read(fetcher, web.url())
        assert "if-none-match" not in web.heads[2].lower()

    async def test_a_304_that_nobody_asked_for_is_no_page(self, fetcher, web):
        web.replies["/"] = reply(b"", status="304 Not Modified")
        with pytest.raises(FetchError, match="304"):
            await fetcher.page(web.url(), 20)

    async def test_what_is_accepted_makes_a_difference(self, fetcher, web):
        web.replies["/"] = in_turn(
            reply(b"html", "Vary: Accept", "Cache-Control: max-age=60"), reply(b"feed", "Cache-Control: max-age=60")
        )
        assert await self.read(fetcher, web.url()) == (b"html", False)
        assert await self.read(fetcher, web.url(), accept="application/rss+xml") == (b"feed", False)
        assert await self.read(fetcher, web.url()) == (b"html", True)

    async def test_redirects_are_kept_as_well(self, fetcher, web):
        web.replies["/"] = reply(b"", "Location: /there", "Cache-Control: max-age=60", status="301 Moved")
        web.replies["/there"] = reply(HTML, "Cache-Control: max-age=60")
        for kept in (False, True):
            page = await fetcher.page(web.url(), 20)
            assert (page.final_url, page.from_cache) == (web.url("/there"), kept)
        assert asked(web) == ["/", "/there"]

    async def test_what_is_old_serves_where_its_server_fails_and_it_said_so(self, fetcher, later, web):
        first = reply(b"one", "Cache-Control: max-age=10, stale-if-error=1000")
        web.replies["/"] = in_turn(first, reply(b"", "Retry-After: 1", status="503 Busy"), reply(status="404 Gone"))
        assert await self.read(fetcher, web.url()) == (b"one", False)
        later(100)
        assert await self.read(fetcher, web.url()) == (b"one", True)
        assert (await fetcher.page(web.url(), 20)).status == 404  # after the second that it asked for
        assert len(web.heads) == 3

    async def test_what_an_operator_closed_is_not_shown(self, fetcher, settings, web):
        web.replies["/"] = reply(HTML, "Cache-Control: max-age=60")
        await fetcher.page(web.url(), 20)
        closed = Fetcher(settings)
        with pytest.raises(AddressRefusedError):
            await closed.page(web.url(), 20)
        await closed.aclose()
