"""The guarded proxy, byte by byte: who gets through it, and where to."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager

import pytest

from backbone.net_guard import AddressGuard
from backbone.net_proxy import GuardedProxy
from backbone.net_transport import GuardedBackend
from tests.contracts.web_server import serving
from tests.misbehaving import endless, reply, silent


@pytest.fixture
async def web():
    async with serving() as server:
        yield server


@pytest.fixture
async def proxy(web):
    async def resolve(host, _port):
        return ["127.0.0.2" if host == "inside.test" else "127.0.0.1"]

    proxy = GuardedProxy(GuardedBackend(AddressGuard([web.allowed]), resolve))
    await proxy.start()
    yield proxy
    await proxy.aclose()


@pytest.fixture
async def granted(proxy):
    async with proxy.granting(max_bytes=1_000_000, max_connections=20) as granted:
        yield granted


def credential(granted, password=None):
    text = f"{granted.name}:{granted.password if password is None else password}"
    return f"Proxy-Authorization: Basic {base64.b64encode(text.encode()).decode()}"


@asynccontextmanager
async def connected(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.close()


async def ask(proxy, *lines, body=b""):
    """Send a head, and return all that comes back."""
    async with asyncio.timeout(30), connected(proxy) as (reader, writer):
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await reader.read()


async def test_a_request_goes_on_without_what_was_for_the_proxy(proxy, granted, web):
    web.replies["/page?q=1"] = reply(
        b"hello", "Set-Cookie: a=1", "Set-Cookie: b=2", "Connection: keep-alive, X-Hop", "X-Hop: 1"
    )
    lines = (
        f"Host: x.test:{web.port}",
        "Proxy-Connection: keep-alive",
        "Connection: X-Mine",
        "X-Mine: 1",
        "Accept: */*",
    )
    answer = await ask(proxy, f"GET http://x.test:{web.port}/page?q=1 HTTP/1.1", *lines, credential(granted))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"hello"
    assert head.startswith(b"HTTP/1.1 200")
    assert head.lower().count(b"set-cookie") == 2
    assert b"x-hop" not in head.lower()
    assert b"connection: close" in head.lower()
    sent = web.heads[0].lower()
    assert sent.startswith(f"get /page?q=1 http/1.1\r\nhost: x.test:{web.port}")
    assert "accept: */*" in sent
    assert "proxy-" not in sent
    assert "x-mine" not in sent


async def test_one_connection_carries_one_request(proxy, granted, web):
    web.says("/a", b"first")
    web.says("/b", b"second")
    head = f"Host: x.test\r\n{credential(granted)}\r\n\r\n"
    both = "".join(f"GET http://x.test:{web.port}{path} HTTP/1.1\r\n{head}" for path in ("/a", "/b"))
    async with asyncio.timeout(30), connected(proxy) as (reader, writer):
        writer.write(both.encode())
        assert (await reader.read()).endswith(b"first")
    assert len(web.heads) == 1


async def test_a_tunnel_carries_bytes_both_ways(proxy, granted, web):
    web.says("/", b"hello")
    async with asyncio.timeout(30), connected(proxy) as (reader, writer):
        authority = f"127.0.0.1:{web.port}"
        writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credential(granted)}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT 127.0.0.1:1",
        "CONNECT 169.254.169.254:80",
        "CONNECT inside.test:{port}",
        "CONNECT 0x7f.1:{port}",
        "CONNECT user@127.0.0.1:{port}",
        "CONNECT 127.0.0.1:{port}/path@x",
        "GET http://127.0.0.1:1/",
        "GET http://inside.test:{port}/",
        "GET http://2130706433:{port}/",
        "GET file:///etc/passwd",
        "GET ftp://127.0.0.1:{port}/",
        "GET https://127.0.0.1:{port}/",
        "GET /",
    ],
)
async def test_what_may_not_be_reached_is_named(proxy, granted, web, line):
    web.says("/", b"hello")
    answer = await ask(proxy, f"{line.format(port=web.port)} HTTP/1.1", "Host: x.test", credential(granted))
    assert answer.startswith(b"HTTP/1.1 403")
    assert web.heads == []


async def test_why_is_kept_for_whoever_asks(proxy, granted, web):
    await ask(proxy, f"GET http://inside.test:{web.port}/ HTTP/1.1", "Host: x", credential(granted))
    assert "loopback" in granted.refused["inside.test", web.port].message


@pytest.mark.parametrize(
    "header",
    ["X: 1", "Proxy-Authorization: Basic !", "Proxy-Authorization: Basic eDp5", "Proxy-Authorization: Bearer x"],
)
async def test_without_a_pass_nobody_gets_through(proxy, granted, web, header):
    for line in (f"GET {web.url()} HTTP/1.1", f"CONNECT 127.0.0.1:{web.port} HTTP/1.1"):
        answer = await ask(proxy, line, "Host: x", header)
        assert answer.startswith(b"HTTP/1.1 407")
        assert b'proxy-authenticate: basic realm="barnabas"' in answer.lower()
    assert web.heads == []


async def test_a_pass_has_a_password_and_an_end(proxy, web):
    async with proxy.granting(max_bytes=1000, max_connections=5) as granted:
        wrong = await ask(proxy, f"GET {web.url()} HTTP/1.1", "Host: x", credential(granted, "guess"))
    late = await ask(proxy, f"GET {web.url()} HTTP/1.1", "Host: x", credential(granted))
    assert wrong.startswith(b"HTTP/1.1 407")
    assert late.startswith(b"HTTP/1.1 407")
    assert web.heads == []


async def test_the_end_of_a_pass_closes_what_is_open(proxy, web):
    web.replies["/"] = silent()
    async with asyncio.timeout(30), connected(proxy) as (reader, writer):
        async with proxy.granting(max_bytes=1000, max_connections=5) as granted:
            authority = f"127.0.0.1:{web.port}"
            writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: x\r\n{credential(granted)}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""


@pytest.mark.parametrize("tunnel", [True, False])
async def test_bytes_are_bounded(proxy, web, tunnel):
    web.replies["/"] = endless()
    async with proxy.granting(max_bytes=300_000, max_connections=5) as granted, connected(proxy) as (reader, writer):
        line = f"CONNECT 127.0.0.1:{web.port}" if tunnel else f"GET {web.url()}"
        writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n{credential(granted)}\r\n\r\n".encode())
        if tunnel:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(30):
            assert 100_000 < len(await reader.read()) < 320_000
        assert "300000 bytes" in granted.spent.message
        assert granted.ended.is_set()
        assert (await ask(proxy, f"GET {web.url()} HTTP/1.1", "Host: x", credential(granted))).startswith(
            b"HTTP/1.1 403"
        )


async def test_connections_are_bounded(proxy, web):
    web.says("/", b"hello")
    async with proxy.granting(max_bytes=10_000, max_connections=2) as granted:
        answers = [await ask(proxy, f"GET {web.url()} HTTP/1.1", "Host: x", credential(granted)) for _ in range(3)]
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"403"]
    assert len(web.heads) == 2


async def test_nobody_there(proxy, web):
    free = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = free.sockets[0].getsockname()[1]
    free.close()
    await free.wait_closed()
    other = GuardedProxy(GuardedBackend(AddressGuard([f"127.0.0.1/32:{port}"])))
    await other.start()
    async with other.granting(max_bytes=1000, max_connections=5) as granted:
        answer = await ask(other, f"CONNECT 127.0.0.1:{port} HTTP/1.1", "Host: x", credential(granted))
    await other.aclose()
    assert answer.startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000]
)
async def test_what_is_no_http_is_hung_up_on(proxy, junk):
    async with asyncio.timeout(30), connected(proxy) as (reader, writer):
        writer.write(junk)
        writer.write_eof()
        assert b"200" not in await reader.read()
