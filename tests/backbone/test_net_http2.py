"""HTTP/2 over TLS through the guarded transport, with a real server of it."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from backbone.errors import AddressRefusedError, AnswerRefusedError, FetchError
from backbone.net import Connector, Limits
from tests.contracts.http2_server import says, serving_http2

NAMES = ["a.example", "b.example", "inside.example"]


@pytest.fixture
async def web(tmp_path):
    async with serving_http2(tmp_path, NAMES) as server:
        yield server


@pytest.fixture
async def connector(web):
    async def resolve(host, _port):
        return ["10.0.0.1" if host == "inside.example" else "127.0.0.1"]

    connector = Connector([web.allowed], user_agent="test", resolve=resolve, tls=web.trust)
    yield connector
    await connector.aclose()


async def test_it_is_agreed_on_by_alpn_and_carries_requests_side_by_side(connector, web):
    web.replies["/"] = says(b"hello", ("content-type", "text/plain"))
    first = await connector.request("GET", web.url())
    others = await asyncio.gather(*(connector.request("GET", web.url()) for _ in range(5)))
    assert {(answer.status, answer.body, answer.headers["content-type"]) for answer in (first, *others)} == {
        (200, b"hello", "text/plain")
    }
    assert web.connections == [("h2", [f"a.example:{web.port}"] * 6)]


async def test_a_connection_serves_no_other_name_though_its_certificate_would(connector, web):
    web.replies["/"] = says(b"hello")
    await connector.request("GET", web.url())
    await connector.request("GET", web.url(host="b.example"))
    with pytest.raises(AddressRefusedError, match="private"):
        await connector.request("GET", web.url(host="inside.example"))
    assert [asked for _, asked in web.connections] == [[f"{host}:{web.port}"] for host in ("a.example", "b.example")]


async def test_a_certificate_for_another_name_or_of_nobody_s_is_refused(connector, web):
    async def resolve(_host, _port):
        return ["127.0.0.1"]

    stranger = Connector([web.allowed], user_agent="test", resolve=resolve, tls=ssl.create_default_context())
    for asking, host in ((connector, "other.example"), (stranger, "a.example")):
        with pytest.raises(FetchError, match="certificate"):
            await asking.request("GET", web.url(host=host))
    await stranger.aclose()
    assert not web.connections


async def test_bodies_are_bounded(connector, web):
    web.replies["/"] = says(b"x" * 1001)
    with pytest.raises(AnswerRefusedError, match="longer than 1000 bytes"):
        await connector.request("GET", web.url(), limits=Limits(max_bytes=1000))


def _unending(connection, stream):
    connection.send_headers(stream, [(":status", "200")])
    connection.send_data(stream, b"x" * 1001)


@pytest.mark.slow
async def test_answers_that_are_broken_off_use_no_connection_up(connector, web):
    web.replies |= {"/unending": _unending, "/": says(b"hello")}
    for _ in range(101):  # streams that a connection may have open
        with pytest.raises(AnswerRefusedError, match="longer than 1000 bytes"):
            await connector.request("GET", web.url("/unending"), limits=Limits(max_bytes=1000))
    assert (await connector.request("GET", web.url())).body == b"hello"


@pytest.mark.parametrize(
    "headers",
    [[("x", "y" * 200_000)], [(f"x-{number}", "y" * 60) for number in range(1200)], [("x", "y" * 4000)] * 5000],
    ids=["one", "many", "repeated, packed a thousandfold"],
)
@pytest.mark.slow
async def test_headers_are_bounded(connector, web, headers):
    web.replies["/"] = says(b"", *headers)
    with pytest.raises(AnswerRefusedError, match="headers are longer") as caught:
        await connector.request("GET", web.url())
    assert not caught.value.retryable
    web.replies["/"] = says(b"hello")
    assert (await connector.request("GET", web.url())).body == b"hello"


def _resets(connection, stream):
    connection.reset_stream(stream)


def _goes_away(connection, _stream):
    connection.close_connection()


def _silent(_connection, _stream):
    pass


def _longer_than_it_says(connection, stream):
    connection.send_headers(stream, [(":status", "200"), ("content-length", "40000")])
    for _ in range(3):  # the wrong one comes when others have been read
        connection.send_data(stream, b"x" * 16_000)
    connection.end_stream(stream)


@pytest.mark.parametrize(
    "reply",
    [
        *(_resets, _goes_away, _silent, _longer_than_it_says),
        *(
            says(b"", status="soon"),
            says(b"", status="-200"),
            says(b"", ("etag", '"1"\r\nx: y')),
            says(b"short", ("content-length", "10")),
        ),
    ],
    ids=[
        "reset",
        "goes away",
        "silent",
        "longer than it says",
        "no status",
        "below all",
        "line end",
        "shorter than it says",
    ],
)
@pytest.mark.slow
async def test_what_goes_wrong_is_a_typed_error_and_the_next_request_is_answered(connector, web, reply):
    web.replies["/wrong"] = reply
    with pytest.raises(FetchError) as caught:
        await connector.request("GET", web.url("/wrong"), limits=Limits(timeout=1))
    assert (caught.value.retryable, caught.value.field) == (True, "url")
    web.replies["/"] = says(b"hello")
    assert (await connector.request("GET", web.url())).body == b"hello"
