"""The guarded connector, against a server that does what it should not."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading

import httpcore
import pytest

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError, RedirectsError
from backbone.net import MOST_PIECES, Connector, Limits, system_resolve
from backbone.net_transport import MOST_ADDRESSES
from tests import misbehaving
from tests.contracts.web_server import serving


@pytest.fixture
async def web():
    async with serving() as server:
        yield server


@pytest.fixture
async def connector(web):
    connector = Connector([web.allowed], user_agent="test")
    yield connector
    await connector.aclose()


@pytest.fixture
async def shut():
    connector = Connector(user_agent="test")
    yield connector
    await connector.aclose()


# Where it connects to


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "nadia@localhost", "127.0.0.1:80"])
async def test_names_of_loopback_are_refused(shut, host):
    with pytest.raises(AddressRefusedError):
        await shut.request("GET", f"http://{host}/")


async def test_connects_to_just_the_address_that_was_checked(web):
    answers = iter([["127.0.0.1"]])
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return next(answers)  # a second look-up would fail here, and with it a second answer

    connector = Connector([web.allowed], user_agent="test", resolve=resolve)
    url = web.says("/", b"hello").replace("127.0.0.1", "rebound.example")
    answer = await connector.request("GET", url)
    await connector.aclose()
    assert answer.body == b"hello"
    assert asked == [("rebound.example", web.port)]
    assert f"host: rebound.example:{web.port}" in web.heads[0].lower()


async def test_a_name_that_leads_inside_is_refused_before_a_socket_opens(web):
    async def resolve(_host, _port):
        return ["127.0.0.1"]

    connector = Connector(user_agent="test", resolve=resolve)
    with pytest.raises(AddressRefusedError, match="loopback"):
        await connector.request("GET", "http://innocent.example/")
    await connector.aclose()
    assert not web.heads


async def test_of_several_addresses_only_those_that_pass_are_tried(web):
    async def resolve(_host, _port):
        return ["::1", "127.0.0.2", "127.0.0.1"]

    connector = Connector([web.allowed], user_agent="test", resolve=resolve)
    answer = await connector.request("GET", web.says("/", b"hello"))
    await connector.aclose()
    assert answer.body == b"hello"


async def test_of_a_name_with_very_many_addresses_a_few_are_tried():
    tried = []

    class Nobody(httpcore.AsyncNetworkBackend):
        async def connect_tcp(self, host, *_args, **_kwargs):
            tried.append(host)
            raise httpcore.ConnectError("nobody is there")

    async def resolve(_host, _port):
        return [f"8.8.{number // 256}.{number % 256}" for number in range(4000)]

    connector = Connector(user_agent="test", resolve=resolve, sockets=Nobody())
    with pytest.raises(FetchError, match="nobody is there"):
        await connector.request("GET", "http://many.example/")
    await connector.aclose()
    assert len(tried) == MOST_ADDRESSES


async def test_no_proxy_of_the_environment_is_used(web, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    inside = Connector([web.allowed], user_agent="test")
    assert (await inside.request("GET", web.says("/", b"hello"))).body == b"hello"
    await inside.aclose()


async def test_names_that_nobody_answers_for_keep_no_other_threads_busy(monkeypatch):
    answered = threading.Event()

    def getaddrinfo(*_args, **_kwargs):
        answered.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    asking = [asyncio.create_task(system_resolve("silent.example", 80)) for _ in range(100)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(int) == 0
    finally:
        answered.set()
    assert await asyncio.gather(*asking) == [[]] * 100


async def test_tls_asks_for_the_name_and_not_for_the_address():
    asked = []
    reply = asyncio.Event()

    def read_name(data: bytes) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.sni_callback = lambda _socket, name, _context: asked.append(name)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(data)
        with pytest.raises(ssl.SSLError):  # it has no certificate: all that matters was said in the hello
            server.wrap_bio(incoming, outgoing, server_side=True).do_handshake()

    async def answer(reader, writer):
        read_name(await reader.read(65536))
        writer.close()
        reply.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def resolve(_host, _port):
        return ["127.0.0.1"]

    connector = Connector([f"127.0.0.1/32:{port}"], user_agent="test", resolve=resolve)
    with pytest.raises(FetchError) as caught:
        await connector.request("GET", f"https://shop.example:{port}/")
    await reply.wait()
    await connector.aclose()
    server.close()
    assert caught.value.retryable
    assert asked == ["shop.example"]


async def test_the_system_resolves_loopback():
    assert "127.0.0.1" in await system_resolve("127.0.0.1", 80)


# Redirects


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/", "http://localhost/", "http://2130706433/", "file:///etc/passwd"]
)
async def test_a_redirect_to_what_is_refused_is_refused(connector, web, target):
    with pytest.raises(AddressRefusedError):
        await connector.request("GET", web.redirects("/", target))


async def test_follows_five_redirects_and_no_sixth(connector, web):
    web.says("/0", b"there")
    for step in range(1, 7):
        web.redirects(f"/{step}", f"/{step - 1}")
    answer = await connector.request("GET", web.url("/5"))
    assert (answer.body, answer.url) == (b"there", web.url("/0"))
    with pytest.raises(AnswerRefusedError, match="more than 5") as caught:
        await connector.request("GET", web.url("/6"))
    assert not caught.value.retryable


async def test_no_cookie_travels_with_the_next_request(connector, web):
    await connector.request("GET", web.says("/", b"", "Set-Cookie: session=1"))
    await connector.request("GET", web.url("/"))
    assert len(web.heads) == 2
    assert "cookie" not in web.heads[1].lower()


# What goes along with a redirect


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        *((status, "POST", "GET") for status in (301, 302, 303)),
        *((status, "POST", "POST") for status in (307, 308)),
        *((status, "HEAD", "HEAD") for status in (301, 302, 303, 307, 308)),
        *((status, "GET", "GET") for status in (301, 308)),
    ],
)
async def test_a_redirect_keeps_the_method_where_it_should(connector, web, status, method, then):
    web.replies["/"] = misbehaving.reply(b"", "Location: /there", status=f"{status} Moved")
    web.replies["/there"] = misbehaving.reply()
    content = b"{}" if method == "POST" else None
    await connector.request(method, web.url(), content=content, headers={"Content-Type": "application/json"})
    head = web.heads[-1]
    assert head.split()[0] == then
    assert ("content-length: 2" in head.lower()) == (then == "POST")
    assert ("content-type" in head.lower()) == (then != "GET" or method == "GET")


async def test_a_header_that_may_be_a_credential_stays_at_its_origin(connector, web):
    headers = {"Authorization": "Bearer 1", "X-Api-Key": "2", "Cookie": "3", "Accept": "text/plain"}
    async with serving() as other:
        both = Connector([web.allowed, other.allowed], user_agent="test")
        web.redirects("/near", "/there")
        web.redirects("/there", other.says("/far", b""))
        await both.request("GET", web.url("/near"), headers=headers)
        await both.aclose()
        near, there, far = web.heads[0].lower(), web.heads[1].lower(), other.heads[0].lower()
    for head in (near, there):
        assert head.count("\r\naccept: ") == head.count("\r\nuser-agent: ") == 1
        assert "authorization: bearer 1" in head
        assert "x-api-key: 2" in head
    assert not {"authorization", "x-api-key", "cookie"} & {line.partition(":")[0] for line in far.splitlines()}
    assert "accept: text/plain" in far


async def test_what_a_redirect_says_beside_its_address_is_not_read(connector, web):
    web.replies["/"] = misbehaving.endless(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
    web.says("/there", b"hello")
    assert (await connector.request("GET", web.url())).body == b"hello"


async def test_a_redirect_to_nowhere_is_the_answer(connector, web):
    web.replies["/"] = misbehaving.reply(b"", status="302 Found")
    assert (await connector.request("GET", web.url())).status == 302


async def test_a_loop_ends(connector, web):
    with pytest.raises(RedirectsError) as caught:
        await connector.request("GET", web.redirects("/", "/"))
    assert caught.value.code == "net.answer_refused"
    assert len(web.heads) == 6


# Bounds


async def test_bytes_are_bounded(connector, web):
    web.says("/", b"x" * 1000)
    assert len((await connector.request("GET", web.url(), limits=Limits(max_bytes=1000))).body) == 1000
    with pytest.raises(AnswerRefusedError, match="longer than 999 bytes"):
        await connector.request("GET", web.url(), limits=Limits(max_bytes=999))
    assert (await connector.request("GET", web.url(), limits=Limits(max_bytes=9, cut=True))).body == b"x" * 9


@pytest.mark.parametrize(
    "reply",
    [
        misbehaving.endless(),
        misbehaving.endless_chunks(b"2710\r\n" + b"x" * 10_000 + b"\r\n"),
        misbehaving.endless_nothing(),
        *(misbehaving.packed(encoding, misbehaving.BOMB) for encoding in ("gzip", "deflate", "br", "zstd", "gzip, br")),
    ],
    ids=["endless", "chunks", "nothing", "gzip", "deflate", "br", "zstd", "gzip in br"],
)
async def test_what_has_no_end_is_cut(connector, web, reply):
    web.replies["/"] = reply
    with pytest.raises(AnswerRefusedError, match="longer than 100000 bytes") as caught:
        await connector.request("GET", web.url(), limits=Limits(max_bytes=100_000))
    assert not caught.value.retryable


@pytest.mark.slow
async def test_pieces_are_bounded(connector, web):
    pieces = b"1\r\nx\r\n" * MOST_PIECES
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    web.replies["/"] = head + pieces + b"0\r\n\r\n"
    assert len((await connector.request("GET", web.url())).body) == MOST_PIECES
    web.replies["/"] = misbehaving.endless_chunks()
    with pytest.raises(AnswerRefusedError, match="more than 50000 pieces"):
        await connector.request("GET", web.url())


@pytest.mark.parametrize(
    "reply",
    [
        misbehaving.endless_headers(),
        misbehaving.reply(b"", f"X: {'y' * 200_000}"),
        misbehaving.reply(b"", *(f"X-{number}: {'y' * 60}" for number in range(1200))),
    ],
    ids=["endless", "one", "many"],
)
async def test_headers_are_bounded(connector, web, reply):
    web.replies["/"] = reply
    with pytest.raises(AnswerRefusedError, match="headers are longer") as caught:
        await connector.request("GET", web.url())
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "reply",
    [misbehaving.silent(), misbehaving.dripping(), misbehaving.endless_promises(), misbehaving.endless(piece=b"")],
    ids=["silent", "dripping", "promises", "body that does not come"],
)
async def test_time_is_bounded_as_a_whole(connector, web, reply):
    web.replies["/"] = reply
    with pytest.raises(FetchError, match=r"no whole answer within 0\.2 s") as caught:
        await connector.request("GET", web.url(), limits=Limits(timeout=0.2))
    assert caught.value.retryable


async def test_redirects_do_not_begin_the_time_anew(connector, web):
    async def slow(writer):
        await asyncio.sleep(0.1)
        writer.write(misbehaving.reply(b"", "Location: /", status="302 Found"))
        await writer.drain()

    web.replies["/"] = slow
    with pytest.raises(FetchError, match="no whole answer"):
        await connector.request("GET", web.url(), limits=Limits(timeout=0.25, max_redirects=1000))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        misbehaving.reply(b"short", length=10),
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        misbehaving.packed("gzip", b"hello" * 1000).replace(b"Content-Length", b"X")[:-20],
        misbehaving.packed("br", b"hello" * 1000).replace(b"Content-Length", b"X")[:-3],
    ],
    ids=["nothing", "shorter than it says", "no http", "no last chunk", "no chunk", "two lengths", "gzip", "br"],
)
async def test_an_answer_that_breaks_off_may_be_tried_again(connector, web, reply):
    web.replies["/"] = reply
    with pytest.raises(FetchError) as caught:
        await connector.request("GET", web.url())
    assert caught.value.retryable
    assert caught.value.field == "url"


async def test_a_length_that_is_too_short_cuts_the_answer(connector, web):
    web.replies["/"] = misbehaving.reply(b"hello HTTP/1.1 200 OK", length=5)
    assert (await connector.request("GET", web.url())).body == b"hello"
    assert (await connector.request("GET", web.url())).body == b"hello"  # and nothing of it reaches the next one


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, zstd"])
async def test_reads_what_is_compressed(connector, web, encoding):
    web.replies["/"] = misbehaving.packed(encoding, b"hello")
    assert (await connector.request("GET", web.url())).body == b"hello"
    assert "accept-encoding: gzip, deflate, br, zstd" in web.heads[0].lower()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "made-up"])
async def test_an_encoding_that_lies_is_a_typed_error(connector, web, encoding):
    body = b"<!doctype html><p>this is no such thing, whatever the header says"
    with pytest.raises(AnswerRefusedError):
        await connector.request("GET", web.says("/", body, f"Content-Encoding: {encoding}"))


async def test_each_request_goes_through_what_is_handed_in(connector, web):
    seen = []

    async def through(ask, send):
        seen.append(str(ask.url))
        return await send(ask)

    web.redirects("/", web.says("/there", b"hello"))
    assert (await connector.request("GET", web.url(), through=through)).body == b"hello"
    assert seen == [web.url(), web.url("/there")]


async def test_a_body_is_sent_and_not_kept(connector, web):
    web.says("/", b"")
    await connector.request("POST", web.url(), content=json.dumps({"a": 1}).encode())
    await connector.request("GET", web.url())
    assert [head.split()[0] for head in web.heads] == ["POST", "GET"]
    assert "content-length" not in web.heads[1].lower()


async def test_a_name_that_is_bound_anew_is_checked_anew(web):
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def resolve(_host, _port):
        return answers.pop(0)

    connector = Connector([web.allowed], user_agent="test", resolve=resolve)
    url = web.says("/", b"hello").replace("127.0.0.1", "rebound.example")
    assert (await connector.request("GET", url)).body == b"hello"
    with pytest.raises(AddressRefusedError, match="private"):
        await connector.request("GET", url)  # the server closed the first connection
    await connector.aclose()
