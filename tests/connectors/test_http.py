"""Requests that never end, and headers without one; idle connections and WebSockets are left alone."""

import asyncio
import json

import pytest
from fastapi import FastAPI, Request

from backbone.settings import Settings
from connectors import door, http
from connectors.door import Door
from connectors.plugins.problems import handle

pytestmark = pytest.mark.slow

GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


@pytest.fixture
async def port(monkeypatch, tmp_path):
    monkeypatch.setattr(http, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(http, "BODY_SECONDS", 0.3)
    app = FastAPI()

    @app.api_route("/echo", methods=["GET", "POST"])
    async def echo(request: Request):
        return len(await request.body())

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(0.6)
        return "late"

    door = Door(Settings(home=tmp_path, edge_port=0), app)

    async def stay(connection):
        async for message in connection:
            await connection.send(message)

    door.sockets.add("/ws", lambda *_: None, stay)
    serving = asyncio.create_task(door.serve())
    yield door.port
    await door.shut()
    await serving


async def talk(port, *pieces):
    """Say this and hear all until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


@pytest.mark.parametrize("said", [b"", b"G", b"\r\n", GET[:-2], POST, POST + b"12345"])
async def test_a_request_that_does_not_end_is_closed(port, said):
    heard = await talk(port, said)
    assert heard == b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        GET[:-2] + b"X: " + b"y" * 2_000_000,
        GET[:-2] + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        GET[:-2] + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"y" * 100_000,
    ],
)
async def test_headers_have_a_size(port, said):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    heard = await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)
    assert heard == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    writer.close()


async def test_large_bodies_and_slow_answers_are_left_alone(port):
    large = POST.replace(b"10", b"1000000", 1) + b"y" * 1_000_000
    assert b"\r\n\r\n1000000" in await talk(port, large + GET.replace(b"Host", b"Connection: close\r\nHost"))
    slow = GET.replace(b"/echo", b"/slow").replace(b"Host", b"Connection: close\r\nHost")
    assert b"late" in await talk(port, slow)


async def test_a_body_that_goes_on_coming_has_all_the_time_that_it_needs(port, monkeypatch):
    monkeypatch.setattr(http, "BODY_PIECE", 1000)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST.replace(b"10", b"10000", 1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(10):
        await asyncio.sleep(0.1)
        writer.write(b"y" * 1000)
    heard = await asyncio.wait_for(reader.readuntil(b"10000"), 20)
    assert heard.startswith(b"HTTP/1.1 200")
    assert loop.time() - began > http.BODY_SECONDS  # or this says nothing
    writer.close()


async def test_an_idle_connection_and_a_websocket_stay(port):
    from websockets.asyncio.client import connect

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with connect(f"ws://127.0.0.1:{port}/ws", proxy=None) as socket:
        for _ in range(2):
            writer.write(GET)
            assert b"200" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n0"), 20)
            assert await talk(port)  # one that was opened later is closed meanwhile
        await socket.send("still here")
        assert await socket.recv() == "still here"
    writer.close()


async def test_a_request_that_a_stop_cuts_off_may_be_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(door, "DRAIN_SECONDS", 0)
    app = FastAPI()
    handle(app)
    begun = asyncio.Event()

    @app.get("/stuck")
    async def stuck():
        begun.set()
        await asyncio.Event().wait()

    edge = Door(Settings(home=tmp_path, edge_port=0), app)
    serving = asyncio.create_task(edge.serve())
    heard = asyncio.create_task(talk(edge.port, GET.replace(b"/echo", b"/stuck")))
    await begun.wait()
    await edge.shut()
    await serving
    head, _, body = (await heard).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after" in head.lower()
    told = json.loads(body)
    assert (told["code"], told["retryable"]) == ("edge.draining", True)
