"""However an address is spelled, no socket opens to what may not be reached."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import httpcore
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backbone.errors import AddressRefusedError, FetchError
from backbone.net import Connector
from backbone.net_url import LONGEST, target

LOOPBACK, METADATA = 0x7F000001, 0xA9FEA9FE


class Recorder(httpcore.AsyncNetworkBackend):
    """Notes where a socket would open, and opens none."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int]] = []

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):  # noqa: ASYNC109
        self.opened.append((host, port))
        raise httpcore.ConnectError("nobody is there")


async def numeric_resolve(host, port):
    """Read any number that the system takes for an address, and ask no name server for the others."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [address[0] for *_, address in found]


@pytest.fixture(scope="module")
def tried():
    """From a URL, and what a resolver says of names, to the sockets that would open; a refusal is none."""
    recorder = Recorder()
    said: list[str] = []

    async def resolve(host, port):
        try:
            return await numeric_resolve(host, port)
        except OSError:
            return said

    with asyncio.Runner() as runner:
        connector = Connector(user_agent="test", resolve=resolve, sockets=recorder)

        def tried(url, answers=()):
            recorder.opened.clear()
            said[:] = answers
            with pytest.raises((AddressRefusedError, FetchError)) as caught:
                runner.run(connector.request("GET", url))
            assert caught.value.field == "url"
            return list(recorder.opened), caught.value

        yield tried
        runner.run(connector.aclose())


def is_public(address: str, port: int) -> bool:
    """What the standard library says, and not what the guard does."""
    ip = ipaddress.ip_address(address)
    return ip.is_global and not ip.is_multicast and port in {80, 443}


def spellings(address: int):
    """Ways to write an IPv4 address that some resolver or browser understands (inet_aton and WHATWG URL)."""
    whole = st.sampled_from([str(address), hex(address), f"0x{address:X}", f"0{address:o}", str(address + (1 << 32))])
    octets = [
        st.sampled_from([str(octet), hex(octet), f"0{octet:o}", f"0x0{octet:x}", str(octet + 256)])
        for octet in address.to_bytes(4, "big")
    ]
    dotted = st.tuples(*octets).map(".".join)
    short = st.sampled_from(
        [f"{address >> 24}.{address & 0xFFFFFF}", f"{address >> 24}.{address >> 16 & 255}.{address & 0xFFFF}"]
    )
    inside_v6 = st.sampled_from(["::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "::", "2002::", "2001::"]).map(
        lambda prefix: ipaddress.IPv6Address(
            int(ipaddress.IPv6Address(prefix)) + (address << (80 if prefix == "2002::" else 0))
        )
    )
    v6 = st.one_of(inside_v6.map(str), inside_v6.map(lambda ip: ip.exploded), inside_v6.map(lambda ip: f"{ip}%25lo"))
    wide = dotted.map(lambda text: text.translate(str.maketrans("0123456789.", "０１２３４５６７８９。")))
    escaped = dotted.map(lambda text: "".join(f"%{ord(letter):02x}" for letter in text))
    return st.one_of(whole, dotted, short, v6.map("[{}]".format), wide, escaped)


NAMES = ["localhost", "LOCALHOST", "localhost.", "localhost..", ".localhost", "inside.example", "ⓛocalhost", "a..b"]
HOSTS = st.one_of(
    spellings(LOOPBACK), spellings(METADATA), spellings(0x08080808), st.sampled_from(NAMES), st.ip_addresses().map(str)
)
TRICKS = st.sampled_from(["", "@", "\\", "/", "\t", "\n", "\r\n", " ", ".", "..", "%00", "%2e", "#", "?", ":80", ":22"])


@st.composite
def urls(draw):
    scheme = draw(st.sampled_from(["http:", "https:", "HTTP:", "hTTps:", "ftp:", "file:", "ws:", "data:", ""]))
    slashes = draw(st.sampled_from(["//", "//", "//", "/", "///", "\\\\", "", "/\\"]))
    user = draw(st.sampled_from(["", "", "", "nadia@", "nadia:secret@", "8.8.8.8@", "8.8.8.8\\@", "8.8.8.8#@", "@"]))
    parts = [scheme, slashes, user, draw(HOSTS), draw(st.sampled_from(["", ":80", ":443", ":22", ":0", ":x"])), "/p"]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), draw(TRICKS))
    return "".join(parts)


ADDRESSES = st.lists(st.ip_addresses().map(str) | st.sampled_from(["127.0.0.1", "::1", "8.8.8.8"]), max_size=4)


@given(url=urls() | st.text(), answers=ADDRESSES)
@example("http://inside.example/", ["fe80::1%eth0", "8.8.8.8"])
def test_no_socket_opens_but_to_the_public_internet(tried, url, answers):
    opened, _ = tried(url, answers)
    assert all(is_public(address, port) for address, port in opened)


def test_what_is_public_is_reached(tried):
    assert tried("http://Some.Example./", ["10.0.0.1", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])[0] == [
        ("8.8.8.8", 80),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", 80),
    ]
    assert tried("https://8.8.8.8/")[0] == [("8.8.8.8", 443)]


@given(host=spellings(LOOPBACK) | spellings(METADATA))
@example("[0:0:0:0:0:0:0:1]")
@example("[::ffff:127.0.0.1]")
@example("[fe80::1]")
@example("0")
@example("①②⑦.⓪.⓪.①")
def test_loopback_and_metadata_are_refused_in_every_spelling(tried, host):
    opened, error = tried(f"http://{host}/")
    assert not opened
    assert isinstance(error, AddressRefusedError)
    assert not error.retryable


ODD = [
    *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:1", "data:text/html,hi"),
    *("ws://example.com/", "example.com", "", "http://", "http:///example.com/", "http:example.com", "//example.com/"),
    *("http://nadia:secret@example.com/", "http://nadia@example.com/", "http://:secret@example.com/"),
    *("http://[::1", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/", "http://[v1.x]/", "http://[]/"),
    *("http://a\nb/", "http://a\tb/", "http://example.com/\r\nHost: inside", "http://example.com/\x00", "http://a b/"),
    *("http://example.com\\@inside/", "http:\\\\example.com/", "http://example.com/a\\b", "http://a\u2028b/"),
    *("http://example%2ecom/", "http://%31%32%37.0.0.1/", "http://a..b/", "http://.a/", "http://a../", "http://./"),
    *("http://0x7f.1/", "http://127.1/", "http://2130706433/", "http://0177.0.0.1/", "http://1.2.3.0x4/"),
    *("http://1.2.3.4.5/", "http://256.1.1.1/", "http://1.2.3.04/", "http://a.1/", "http://example.0x/"),
    *(f"http://{'a' * 64}.example/", f"http://{'a.' * 127}example/", f"http://example.com/{'a' * LONGEST}"),
    *(
        "http://example.com:99999/",
        "http://example.com:-1/",
        "http://example.com:0/",
        "http://example.com:x/",
        "http://example.com:+80/",
        "http://example.com: 80/",
        "http://example.com:8_0",
        "http://example.com:８０?q",
        "//[2606:2800:21f::1]:8_0#a",
        "http://exa*mple.com/",
    ),
]


@pytest.mark.parametrize("url", ODD)
def test_what_is_no_plain_address_of_the_web_is_refused(url):
    with pytest.raises(AddressRefusedError) as caught:
        target(url)
    assert caught.value.field == "url"
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://EXAMPLE.com", "http://example.com/"),
        ("https://example.com.:443/a?b#c", "https://example.com/a?b"),
        ("http://bücher.example/ü b?q=ü", "http://xn--bcher-kva.example/%C3%BC%20b?q=%C3%BC"),
        ("http://[2606:2800:21F::1]:80/", "http://[2606:2800:21f::1]/"),
        ("http://a_b-.example/?back\\slash", "http://a_b-.example/?back\\slash"),
        ("http://8.8.8.8./", "http://8.8.8.8/"),
        ("http://example.com:080/a:b//c:d", "http://example.com/a:b//c:d"),
        ("http://example.com:?//a:b", "http://example.com?//a:b"),
    ],
)
def test_a_plain_address_is_read_in_one_way(url, read):
    assert str(target(url)).removesuffix("/") == read.removesuffix("/")


@given(st.text() | urls())
def test_what_is_read_is_read_the_same_again(url):
    try:
        once = target(url)
    except AddressRefusedError:
        return
    assert target(str(once)) == once
    assert once.scheme in {"http", "https"}


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/b", "http://a.example/b"),
        ("/b:c//d:e", "http://a.example/b:c//d:e"),
        ("//b.example/", "http://b.example/"),
        ("?q", "http://a.example/dir/page?q"),
    ],
)
def test_a_relative_address_is_read_from_where_it_was_found(location, leads_to):
    assert target(location, httpx.URL("http://a.example/dir/page")) == httpx.URL(leads_to)
