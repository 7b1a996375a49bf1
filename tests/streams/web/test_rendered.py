"""A real Chromium against real servers: what scripts make is read, and no script gets anywhere by way of the browser."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError, HostRestsError
from backbone.settings import Settings
from streams.errors import (
    PageUnreadableError,
    PayloadError,
    RenderedUnavailableError,
    RobotsRefusedError,
    TransientError,
)
from streams.handlers.web import WebScrape
from streams.web import browser, browser_memory, rendered, visit
from streams.web.browser import Chromium, installed
from streams.web.fetch import Fetcher
from streams.web.rendered import Renderer
from tests.contracts.handler import context, read
from tests.contracts.web_server import WebServer, serving
from tests.misbehaving import dripping, endless, reply, silent
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.net_transport import Resolve

pytestmark = pytest.mark.slow

LONG = 60
"""Seconds that a page may take here: the machine is busy."""


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def secret() -> AsyncIterator[WebServer]:
    """A server that nobody opened; it keeps whatever it is asked."""
    async with serving() as server:
        server.replies["/robots.txt"] = reply(status="404 Not Found")
        yield server


@pytest.fixture(scope="session")
def chromium() -> None:
    if installed(Settings()) is None:
        missing = "Chromium is missing, and pages are not rendered: apt-get install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.fixture(scope="module")
async def shared(chromium) -> AsyncIterator[Chromium]:
    """One browser for all that don't break it: a start takes longer than a page."""

    class Shared(Chromium):
        async def aclose(self) -> None:
            """Stay for the next test."""

    one = Shared(Settings())
    yield one
    await Chromium.aclose(one)


@asynccontextmanager
async def rendering(settings: Settings, web: WebServer, resolve: Resolve | None = None, **changes):
    mine = settings.model_copy(update={"net_allow": (web.allowed,), "host_pause": timedelta(0), **changes})
    fetcher = Fetcher(mine)
    renderer = Renderer(mine, fetcher, **({} if resolve is None else {"resolve": resolve}))
    await renderer.start()
    try:
        yield renderer
    finally:
        await renderer.aclose()
        await fetcher.aclose()


@pytest.fixture
async def renderer(settings, web, shared, monkeypatch) -> AsyncIterator[Renderer]:
    monkeypatch.setattr(rendered, "Chromium", lambda _settings: shared)
    async with rendering(settings, web) as renderer:
        yield renderer


@pytest.fixture
async def breakable(settings, web, chromium) -> AsyncIterator[Renderer]:
    """One with a browser of its own."""
    async with rendering(settings, web) as renderer:
        yield renderer


@pytest.fixture
def others() -> set[int]:
    """Who was here before the test."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


def drivers(others: set[int]) -> list[psutil.Process]:
    """What drives the browsers that the test started."""
    return [one for one in psutil.Process().children() if one.pid not in others and "node" in one.name()]


def browsers(others: set[int]) -> list[psutil.Process]:
    """The browsers that the test started, without their helpers."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.NoSuchProcess:  # it ends just now
            continue
        if process.pid in others:
            continue
        if any("--remote-debugging-pipe" in one for one in line) and not any("--type=" in one for one in line):
            found.append(process)
    return found


def asked(web: WebServer) -> list[str]:
    """What was asked for; the picture beside a page's name, which every browser asks for, is not told."""
    return [path for head in web.heads if (path := head.split()[1]) != "/favicon.ico"]


def script(code: str, body: str = "") -> bytes:
    return f"<!doctype html><title>t</title>{body}<script>{code}</script>".encode()


class TestReads:
    async def test_what_scripts_make(self, renderer, web):
        web.says("/data", b'{"name": "gr\\u00fc\\u00df"}', "Content-Type: application/json\r\nX-Robots-Tag: none")
        url = web.says(
            "/",
            script(
                "fetch('/data').then(a => a.json()).then(d => { document.body.append('made of ' + d.name) })", "<p>"
            ),
            "Content-Type: text/html\r\nETag: x",
        )
        page = await renderer.page(url, LONG)
        assert "made of grüß" in page.text
        assert page.text.startswith("<!DOCTYPE html>\n<html")
        assert (page.url, page.final_url, page.status) == (url, url, 200)
        assert (page.content_type, page.charset, page.from_cache) == ("text/html", "utf-8", False)
        assert "Barnabas/" in web.heads[0]

    async def test_what_is_waited_for(self, renderer, web):
        # The picture would keep the page from having loaded for ever; nobody looks at it.
        web.replies["/picture"] = silent()
        body = "<img src='/picture'>"
        url = web.says("/", script("setTimeout(() => document.body.append(document.createElement('b')), 300)", body))
        assert "<b></b>" in (await renderer.page(url, LONG, wait_for="body > b")).text
        assert asked(web) == ["/"]

    async def test_where_it_leads_in_the_end(self, renderer, web):
        web.says("/end", b"<!doctype html><h1>end</h1>", status="404 Not Found")
        web.says("/middle", b"<meta http-equiv=refresh content='0;url=/end'>")
        page = await renderer.page(web.redirects("/", "/middle"), LONG, wait_for="h1")
        assert (page.final_url, page.status) == (web.url("/end"), 404)

    async def test_what_is_no_html_as_it_came(self, renderer, web):
        page = await renderer.page(web.says("/", b'{"a": 1}', "Content-Type: application/json"), LONG)
        assert (page.text, page.content_type) == ('{"a": 1}', "application/json")

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ("<feed>grüß</feed>".encode(), "application/atom+xml"),
            ("<?xml version='1.0' encoding='windows-1251'?><a>Привет, мир</a>".encode("cp1251"), "text/xml"),
            ("Привет, мир".encode(), "text/plain"),
            ('{"a": "grüß"}'.encode(), "application/json"),
            (bytes(range(256)), "image/png"),
        ],
    )
    async def test_what_is_no_html_has_the_bytes_that_it_came_with(self, renderer, web, body, content_type):
        web.says("/data", body, f"Content-Type: {content_type}")
        page = await renderer.page(web.redirects("/", "/data"), LONG, binary=True)
        assert (page.body, page.final_url) == (body, web.url("/data"))

    @pytest.mark.parametrize("status", ["204 No Content", "404 Not Found"])
    async def test_an_answer_without_content(self, renderer, web, status):
        web.replies["/empty"] = reply(status=status, length=0)
        for url in (web.url("/empty"), web.redirects("/", "/empty")):
            page = await renderer.page(url, LONG)
            assert (page.final_url, page.status, page.text) == (web.url("/empty"), int(status[:3]), "")

    async def test_a_page_that_lies_about_its_document(self, renderer, web):
        code = "Object.defineProperty(Element.prototype, 'outerHTML', {get() { return 'a lie' }})"
        page = await renderer.page(web.says("/", script(code, "<p>truth</p>")), LONG)
        assert "<p>truth</p>" in page.text


class TestGoesNowhere:
    @pytest.mark.parametrize("opened", [True, False])
    async def test_whatever_a_script_tries(self, renderer, web, secret, opened):
        there = web if opened else secret
        web.redirects("/away", there.url("/redirect"))
        code = f"""
        const to = '127.0.0.1:{there.port}', http = 'http://' + to, tries = [];
        const again = (name, make) => tries.push(new Promise(done => {{
          setTimeout(() => done(name + ' hung'), 8000);
          try {{ make(done) }} catch (error) {{ done(name + ' ' + error) }}
        }}));
        const element = (name, set) => again(name, done => {{
          const one = document.createElement(name);
          one.onload = one.onerror = () => done(name);
          set(one); document.body.append(one);
        }});
        const get = (url) => again(url, done => fetch(url, {{mode: 'no-cors'}}).then(done, done));
        get(http + '/fetch'); get('/away');
        get('http://localhost:{there.port}/name'); get('http://[::1]:{there.port}/six');
        get('http://2130706433:{there.port}/number'); get('http://169.254.169.254/latest/meta-data/');
        get('file:///etc/passwd');
        again('socket', done => {{ new WebSocket('ws://' + to + '/socket').onerror = done }});
        again('events', done => {{ new EventSource(http + '/events').onerror = done }});
        again('beacon', done => done(navigator.sendBeacon(http + '/beacon', 'x')));
        again('worker', done => {{
          const code = `fetch('${{http}}/worker', {{mode: 'no-cors'}}).then(() => postMessage(1), () => postMessage(0))`;
          new Worker(URL.createObjectURL(new Blob([code]))).onmessage = done;
        }});
        again('popup', done => done(window.open(http + '/popup')));
        again('transport', done => new WebTransport('https://' + to + '/transport').ready.then(done, done));
        element('iframe', one => one.src = http + '/iframe');
        // Neither `load` nor `error` comes of this one.
        element('iframe', one => {{ one.src = 'file:///etc/passwd'; setTimeout(one.onerror, 500) }});
        element('script', one => one.src = http + '/script');
        element('link', one => {{ one.rel = 'stylesheet'; one.href = http + '/style' }});
        Promise.all(tries).then(() => document.body.append(document.createElement('b')));
        """
        page = await renderer.page(web.says("/", script(code, "<p>")), LONG, wait_for="body > b")
        assert "root:" not in page.text
        arrived = {"/fetch", "/redirect", "/socket", "/events", "/beacon", "/worker", "/iframe", "/script", "/style"}
        if opened:
            assert arrived <= set(asked(web))
        else:
            assert secret.heads == []

    async def test_no_datagram_leaves(self, renderer, web):
        got = []

        class Stun(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                got.append(data)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Stun, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        code = f"""
        const peer = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:{port}'}}]}});
        peer.createDataChannel('x');
        peer.onicegatheringstatechange = () => {{
          if (peer.iceGatheringState === 'complete') document.body.append(document.createElement('b'));
        }};
        peer.createOffer().then(offer => peer.setLocalDescription(offer));
        """
        await renderer.page(web.says("/", script(code, "<p>")), LONG, wait_for="body > b")
        transport.close()
        assert got == []

    async def test_the_local_network_is_not_asked_for_names(self, renderer, web):
        got = []

        class Neighbour(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                got.append(data)

        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("224.0.0.251", 5353))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + bytes(4))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Neighbour, sock=ear)
        code = """
        const one = new RTCPeerConnection(), two = new RTCPeerConnection();
        one.createDataChannel('x');
        (async () => {
          await one.setLocalDescription(await one.createOffer());
          await two.setRemoteDescription(one.localDescription);
          await two.addIceCandidate({candidate: 'candidate:1 1 udp 1 neighbour.local 5000 typ host', sdpMid: '0'});
          setTimeout(() => document.body.append(document.createElement('b')), 500);
        })();
        """
        await renderer.page(web.says("/", script(code, "<p>")), LONG, wait_for="body > b")
        transport.close()
        # Others on the machine may be heard here as well.
        assert [data for data in got if b"NOTFOUND" in data or b"neighbour" in data] == []

    async def test_a_name_that_leads_elsewhere_the_second_time(self, settings, web, secret, chromium):
        # On the same port, at another address of loopback, which the rule doesn't open.
        server = await asyncio.start_server(secret.answer, "127.0.0.2", web.port)
        asked_for = []

        async def resolve(host, _port):
            asked_for.append(host)
            return ["127.0.0.1" if host != "rebind.test" or asked_for.count(host) == 1 else "127.0.0.2"]

        code = f"""
        const get = (path) => fetch('http://rebind.test:{web.port}' + path, {{mode: 'no-cors'}}).catch(() => 0);
        get('/one').then(() => get('/two')).then(() => get('/three'))
          .then(() => document.body.append(document.createElement('b')));
        """
        async with rendering(settings, web, resolve) as renderer:
            await renderer.page(web.says("/", script(code, "<p>")), LONG, wait_for="body > b")
        server.close()
        assert asked(web) == ["/", "/one"]
        assert asked_for.count("rebind.test") == 3
        assert secret.heads == []

    @pytest.mark.parametrize(
        "way",
        [
            lambda web, there: web.redirects("/", there),
            lambda web, there: web.says("/", f"<meta http-equiv=refresh content='0;url={there}'>".encode()),
            lambda web, there: web.says("/", script(f"location.href = '{there}'")),
            lambda _web, there: there,
        ],
        ids=["redirect", "refresh", "script", "itself"],
    )
    async def test_a_page_that_leads_there_is_refused(self, renderer, web, secret, way):
        with pytest.raises(AddressRefusedError):
            await renderer.page(way(web, secret.url("/there")), LONG)
        assert secret.heads == []

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "chrome://version", "data:text/html,x", "about:blank"])
    async def test_other_schemes(self, breakable, others, url):
        with pytest.raises(AddressRefusedError):
            await breakable.page(url, LONG)
        assert not browsers(others)

    async def test_robots_txt_is_asked_on_the_way_too(self, renderer, web):
        web.replies["/robots.txt"] = reply(b"User-agent: *\nDisallow: /private\n")
        for url in (web.url("/private/page"), web.redirects("/", "/private/page")):
            with pytest.raises(RobotsRefusedError):
                await renderer.page(url, LONG)
        assert asked(web) == ["/robots.txt", "/"]

    async def test_a_host_that_asks_for_rest(self, renderer, web):
        web.replies["/"] = reply(b"<p>", "Retry-After: 30", status="429 Slow")
        with pytest.raises(HostRestsError) as caught:
            await renderer.page(web.url(), LONG)
        assert caught.value.retry_after == 30


class TestBounds:
    @pytest.mark.parametrize(
        ("made", "error"),
        [
            (silent(), FetchError),
            (reply(script("while (true) {}")), PageUnreadableError),
            (reply(script("while (true) alert(1)")), PageUnreadableError),
            (dripping(), PageUnreadableError),
        ],
        ids=["silent", "loop", "alerts", "dripping"],
    )
    async def test_a_page_without_an_end(self, renderer, web, made, error):
        await renderer.page(web.says("/warm", b"<p>"), LONG)
        web.replies["/"] = made
        with pytest.raises(error):
            await renderer.page(web.url(), 3)
        assert "<p>" in (await renderer.page(web.url("/warm"), LONG)).text

    async def test_what_is_waited_for_and_never_comes(self, renderer, web):
        await renderer.page(web.says("/", b"<p>"), LONG)
        with pytest.raises(PageUnreadableError) as caught:
            await renderer.page(web.url(), 2, wait_for="#never")
        assert caught.value.field == "wait_for"

    async def test_what_is_waited_for_is_a_selector(self, renderer, web):
        with pytest.raises(PayloadError) as caught:
            await renderer.page(web.says("/", b"<p>"), LONG, wait_for="p >>> ][")
        assert caught.value.field == "wait_for"

    async def test_bytes(self, renderer, web, monkeypatch):
        monkeypatch.setattr(rendered, "MOST_BYTES", 1_000_000)
        web.replies["/"] = endless()
        with pytest.raises(AnswerRefusedError, match="bytes"):
            await renderer.page(web.url(), LONG)

    async def test_requests(self, renderer, web, monkeypatch):
        monkeypatch.setattr(visit, "MOST_REQUESTS", 20)
        url = web.says("/", script("(function more(n) { fetch('/' + n).then(() => more(n + 1)) })(0)"))
        with pytest.raises(AnswerRefusedError, match="20 times"):
            await renderer.page(url, LONG)

    async def test_the_document(self, renderer, web, monkeypatch):
        monkeypatch.setattr(visit, "MOST_CHARACTERS", 10_000)
        with pytest.raises(AnswerRefusedError, match="10000 characters"):
            await renderer.page(web.says("/", script("document.body.append('x'.repeat(10000))", "<p>")), LONG)

    async def test_memory_that_is_no_script_s(self, renderer, web, monkeypatch):
        monkeypatch.setattr(browser_memory, "MOST_MEMORY", 400 * 1024 * 1024)
        code = """
        const held = [];
        (function more() { held.push(new Uint8Array(2e7).fill(1)); setTimeout(more, 20) })();
        """
        with pytest.raises(PageUnreadableError, match="memory"):
            await renderer.page(web.says("/", script(code, "<p>")), LONG, wait_for="#never")
        assert "<p>" in (await renderer.page(web.says("/fine", b"<p>"), LONG)).text

    async def test_windows(self, renderer, web):
        web.says("/window", b"<p>")
        code = "for (let n = 0; n < 100; n++) window.open('/window?' + n)"
        await renderer.page(web.says("/", script(code, "<p>")), LONG)
        assert asked(web) == ["/"]

    async def test_a_pdf(self, renderer, web):
        pdf = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj trailer<</Root 1 0 R>>"
        with pytest.raises(AnswerRefusedError, match="PDF"):
            await renderer.page(web.says("/", pdf, "Content-Type: application/pdf"), LONG)

    async def test_a_page_that_asks_who_is_there(self, renderer, web):
        with pytest.raises(AnswerRefusedError, match="password"):
            await renderer.page(web.says("/", b"", "WWW-Authenticate: Basic realm=x", "401 Unauthorized"), LONG)
        assert not [head for head in web.heads if "authorization:" in head.lower()]

    async def test_a_download(self, renderer, web):
        head = "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=a.bin"
        with pytest.raises(AnswerRefusedError, match="download"):
            await renderer.page(web.says("/", b"x" * 1000, head), LONG)


class TestBrowser:
    async def test_no_page_finds_what_another_left(self, renderer, web):
        web.says("/set", script("document.cookie = 'owner=one'; localStorage.owner = 'one'"), "Set-Cookie: who=one")
        await renderer.page(web.url("/set"), LONG)
        url = web.says("/", script("document.body.append('[' + document.cookie + localStorage.owner + ']')", "<p>"))
        assert "[undefined]" in (await renderer.page(url, LONG)).text
        assert not [head for head in web.heads if "\r\ncookie:" in head.lower() and head.split()[1] == "/"]

    @pytest.mark.parametrize("killed", [browsers, drivers])
    async def test_one_that_is_killed_is_started_anew(self, breakable, web, others, killed):
        web.replies["/"] = silent()
        reading = asyncio.create_task(breakable.page(web.url(), LONG))
        await until(partial(asyncio.to_thread, lambda: asked(web)), LONG)
        (first,) = browsers(others)
        for process in killed(others):
            process.kill()
        with pytest.raises(TransientError) as caught:
            await reading
        assert caught.value.retryable
        assert "<p>" in (await breakable.page(web.says("/", b"<p>"), LONG)).text
        assert first not in browsers(others)

    @pytest.mark.parametrize("killed", [browsers, drivers])
    async def test_one_that_is_killed_between_two_pages(self, breakable, web, others, killed):
        url = web.says("/", b"<p>")
        await breakable.page(url, LONG)
        for process in killed(others):
            process.kill()
        with suppress(TransientError):  # where nobody has told yet
            await breakable.page(url, LONG)
        assert "<p>" in (await breakable.page(url, LONG)).text

    async def test_one_that_hangs_is_started_anew(self, breakable, web, others, monkeypatch):
        monkeypatch.setattr(browser, "_CLOSE_SECONDS", 0.5)
        url = web.says("/", b"<p>")
        await breakable.page(url, LONG)
        (first,) = browsers(others)
        first.suspend()
        with pytest.raises(TransientError, match="did not open"):
            await breakable.page(url, 1)
        await until(partial(asyncio.to_thread, lambda: not first.is_running()), LONG)
        assert "<p>" in (await breakable.page(url, LONG)).text

    async def test_a_start_that_nobody_waits_for_leaves_nothing(self, settings, web, others, chromium):
        async with rendering(settings, web, rendered_idle=timedelta(milliseconds=50)) as renderer:
            with pytest.raises(TransientError, match="did not open"):
                await renderer.page(web.says("/", b"<p>"), 0.2)
            await until(partial(asyncio.to_thread, lambda: not drivers(others)), LONG)
            assert not browsers(others)

    async def test_one_that_nobody_needs_ends(self, settings, web, others, chromium):
        async with rendering(settings, web, rendered_idle=timedelta(milliseconds=50)) as renderer:
            await renderer.page(web.says("/", b"<p>"), LONG)
            await until(partial(asyncio.to_thread, lambda: not browsers(others)), LONG)
            assert "<p>" in (await renderer.page(web.url(), LONG)).text

    async def test_none_is_there(self, settings, web, tmp_path):
        async with rendering(settings, web, chromium=tmp_path / "none") as renderer:
            with pytest.raises(RenderedUnavailableError) as caught:
                await renderer.page(web.says("/", b"<p>"), LONG)
            assert caught.value.field == "rendered"


class TestHandler:
    @pytest.fixture
    async def handler(self, settings, web) -> AsyncIterator[WebScrape]:
        handler = WebScrape(settings.model_copy(update={"net_allow": (web.allowed,), "host_pause": timedelta(0)}))
        yield handler
        await handler.close()

    async def test_every_mode_reads_what_was_rendered(self, handler, web, others, chromium):
        code = "document.body.innerHTML = '<a href=/made>made</a><h1>by a script</h1>'"
        payload = {"url": web.says("/", script(code, "<p>")), "rendered": True, "wait_for": "h1", "timeout": 30}
        links = await handler.run(read(handler, {**payload, "mode": "links"}), context())
        assert [link.url for link in links.links] == [web.url("/made")]
        picked = await handler.run(read(handler, {**payload, "selectors": {"name": "h1"}}), context())
        assert picked.data == {"name": "by a script"}
        await handler.close()
        assert not browsers(others)

    async def test_without_the_extra(self, handler, web, monkeypatch):
        for name in [name for name in sys.modules if name.startswith(("playwright", "streams.web.rendered"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(sys.modules, "streams.web.browser", raising=False)
        monkeypatch.setitem(sys.modules, "playwright.async_api", None)
        with pytest.raises(RenderedUnavailableError, match="extra"):
            await handler.run(read(handler, {"url": web.url(), "rendered": True}), context())

    async def test_only_what_is_rendered_is_waited_for(self, handler, web):
        with pytest.raises(PayloadError, match="rendered"):
            read(handler, {"url": web.url(), "wait_for": "h1"})
