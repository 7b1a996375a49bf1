from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import ssl
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError, SettingsError
from backbone.net import Connector, Limits, system_resolve
from backbone.net_guard import AddressGuard, AllowedNetwork, special_kind
from backbone.settings import Settings, settings
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


# The guard: a pure table.


@given(st.ip_addresses())
def test_what_the_guard_calls_public_the_standard_library_calls_global(address):
    if special_kind(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::", "2002::", "::"]))
def test_an_ipv4_address_inside_an_ipv6_one_is_never_public(inner, prefix):
    shift = 80 if prefix == "2002::" else 0
    outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + (int(inner) << shift))
    assert special_kind(outer) is not None


INSIDE = """
    127.0.0.1 10.1.2.3 172.31.255.255 192.168.0.1 169.254.169.254 100.100.100.200 168.63.129.16 0.0.0.0 224.0.0.1
    255.255.255.255 ::1 :: fe80::1 fd00:ec2::254 ff02::1 100::1 ::ffff:8.8.8.8 64:ff9b::808:808 64:ff9b:1::1
    2001:0:4136:e378::1 2001:db8::1 4000::1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_refuses_what_is_not_the_public_internet(address):
    with pytest.raises(AddressRefusedError) as caught:
        AddressGuard().check(address, 443)
    assert caught.value.field == "url"
    assert not caught.value.retryable


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_lets_the_public_internet_through_on_its_two_ports_alone(address):
    AddressGuard().check(address, 80)
    AddressGuard().check(address, 443)
    for port in (0, 22, 8080, 65535):
        with pytest.raises(AddressRefusedError, match="port"):
            AddressGuard().check(address, port)


def test_an_operator_opens_a_network_at_one_port_or_at_the_public_two():
    guard = AddressGuard(["127.0.0.1/32:8088", "10.0.0.0/8", "fd00::/8:8443"])
    guard.check("127.0.0.1", 8088)
    guard.check("10.9.8.7", 80)
    guard.check("fd00::5", 8443)
    for address, port in (("127.0.0.1", 80), ("127.0.0.2", 8088), ("10.9.8.7", 8088), ("fd00::5", 443)):
        with pytest.raises(AddressRefusedError):
            guard.check(address, port)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 32), st.none() | st.integers(1, 65535))
def test_a_rule_is_written_as_it_is_read(address, prefix, port):
    network = ipaddress.ip_network((address, prefix), strict=False)
    rule = AllowedNetwork(network, port)
    assert AllowedNetwork.parse(str(rule)) == rule


@given(st.text())
@example("127.0.0.1/32:99999")
@example("127.0.0.1/24")
@example("10.0.0.0/8:0")
def test_any_text_is_a_rule_or_a_value_error_that_quotes_it(text):
    try:
        rule = AllowedNetwork.parse(text)
    except ValueError as error:
        said = str(error)
    else:
        said = f"{text!r} was read as {rule}"
    assert repr(text) in said


def test_the_setting_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("BARNABAS_NET_ALLOW", "127.0.0.1/32:8088, 10.0.0.0/8,")
    assert Settings().net_allow == ("127.0.0.1/32:8088", "10.0.0.0/8")


def test_a_wrong_setting_is_named_with_what_is_wrong(monkeypatch):
    monkeypatch.setenv("BARNABAS_NET_ALLOW", "10.0.0.1/8")
    settings.cache_clear()
    try:
        with pytest.raises(SettingsError, match=r"10\.0\.0\.1/8") as caught:
            settings()
        assert caught.value.field == "BARNABAS_NET_ALLOW"
    finally:
        settings.cache_clear()


# The connector: every spelling, every redirect, every look-up.


def spellings(address: int):
    """Ways to write an IPv4 address that some resolver or browser understands (inet_aton and WHATWG URL)."""
    whole = st.sampled_from([str(address), hex(address), f"0x{address:X}", f"0{address:o}"])
    octets = [
        st.sampled_from([str(octet), hex(octet), f"0{octet:o}", f"0x0{octet:x}"])
        for octet in address.to_bytes(4, "big")
    ]
    dotted = st.tuples(*octets).map(".".join)
    short = st.sampled_from(
        [f"{address >> 24}.{address & 0xFFFFFF}", f"{address >> 24}.{address >> 16 & 255}.{address & 0xFFFF}"]
    )
    inside_v6 = st.sampled_from(["::ffff:0:0", "64:ff9b::", "::"]).map(
        lambda prefix: f"[{ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + address)}]"
    )
    wide = dotted.map(lambda text: text.translate(str.maketrans("0123456789.", "０１２３４５６７８９。")))  # noqa: RUF001
    return st.one_of(whole, dotted, short, inside_v6, wide)


async def numeric_resolve(host, port):
    """Read any number that the system takes for an address, and ask no name server for the others."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [address[0] for *_, address in found]


@pytest.fixture(scope="module")
def numeric():
    with asyncio.Runner() as runner:
        connector = Connector(user_agent="test", resolve=numeric_resolve)
        yield lambda url: runner.run(connector.request("GET", url))
        runner.run(connector.aclose())


@given(host=spellings(0x7F000001) | spellings(0xA9FEA9FE))
@example("[0:0:0:0:0:0:0:1]")
@example("[::ffff:127.0.0.1]")
@example("[fe80::1]")
@example("0")
@example("①②⑦.⓪.⓪.①")
def test_loopback_and_metadata_are_refused_in_every_spelling(numeric, host):
    with pytest.raises(AddressRefusedError) as caught:
        numeric(f"http://{host}/")
    assert caught.value.field == "url"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "nadia@localhost", "127.0.0.1:80"])
async def test_names_of_loopback_are_refused(shut, host):
    with pytest.raises(AddressRefusedError):
        await shut.request("GET", f"http://{host}/")


WRONG_URLS = [
    *(
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:1",
        "example.com",
        "",
        "http://",
    ),
    *("//example.com/", "http://nadia:secret@example.com/", "http://[::1", "http://a\nb/", f"http://{'a' * 300}/"),
]


@pytest.mark.parametrize("url", WRONG_URLS)
async def test_refuses_what_is_no_plain_address_of_the_web(shut, url):
    with pytest.raises(AddressRefusedError) as caught:
        await shut.request("GET", url)
    assert caught.value.field == "url"


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


# Bounds


async def test_bytes_are_bounded(connector, web):
    web.says("/", b"x" * 1000)
    assert len((await connector.request("GET", web.url(), limits=Limits(max_bytes=1000))).body) == 1000
    with pytest.raises(AnswerRefusedError, match="longer than 999 bytes"):
        await connector.request("GET", web.url(), limits=Limits(max_bytes=999))


async def test_an_answer_without_end_is_cut(connector, web):
    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    web.replies["/"] = endless
    with pytest.raises(AnswerRefusedError, match="longer than"):
        await connector.request("GET", web.url(), limits=Limits(max_bytes=1_000_000))


async def test_a_bomb_never_unfolds(connector, web):
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 60_000
    with pytest.raises(AnswerRefusedError, match="longer than 100000 bytes"):
        await connector.request("GET", web.says("/", bomb, "Content-Encoding: gzip"), limits=Limits(max_bytes=100_000))


def bare_deflate(data: bytes) -> bytes:
    """Compress without the zlib header, as some servers do."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare_deflate), ("identity", bytes)],
)
async def test_reads_what_is_compressed(connector, web, encoding, pack):
    answer = await connector.request("GET", web.says("/", pack(b"hello"), f"Content-Encoding: {encoding}"))
    assert answer.body == b"hello"


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"this is no gzip"), ("br", b"x"), ("gzip, gzip", b"x")])
async def test_a_compression_that_can_t_be_read_is_a_typed_error(connector, web, encoding, body):
    with pytest.raises(AnswerRefusedError):
        await connector.request("GET", web.says("/", body, f"Content-Encoding: {encoding}"))


async def test_time_is_bounded_as_a_whole(connector, web):
    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    web.replies["/"] = drip
    with pytest.raises(FetchError, match="no whole answer") as caught:
        await connector.request("GET", web.url(), limits=Limits(timeout=0.05))
    assert caught.value.retryable


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"no http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
async def test_an_answer_that_breaks_off_may_be_tried_again(connector, web, reply):
    web.replies["/"] = reply
    with pytest.raises(FetchError) as caught:
        await connector.request("GET", web.url())
    assert caught.value.retryable
    assert caught.value.field == "url"
