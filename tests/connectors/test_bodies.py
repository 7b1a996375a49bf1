"""How bodies are read: whole, by those who may send them, and of large ones only some at once."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from backbone.errors import UnauthenticatedError
from connectors.plugins import problems
from connectors.plugins.problems import handle, strict_route

USUAL, MOST = 100, 1000


def authenticate(authorization):
    if authorization != "me":
        raise UnauthenticatedError


@pytest.fixture
async def client():
    app, router = FastAPI(), APIRouter(route_class=strict_route(USUAL, MOST, authenticate))

    @router.post("/echo")
    async def echo(body: dict[str, str]) -> int:
        return len(body["x"])

    handle(app)
    app.include_router(router)
    headers = {"Authorization": "me", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge", headers=headers) as client:
        yield client


def body(size: int) -> bytes:
    return b'{"x": "' + b"y" * (size - 9) + b'"}'


class Slow:
    """A body whose last byte comes when it is let go."""

    def __init__(self, size: int) -> None:
        self.data = body(size)
        self.taken = asyncio.Event()
        self.go = asyncio.Event()

    async def __aiter__(self):
        yield self.data[:-1]
        self.taken.set()  # it is asked for more: what came is read
        await self.go.wait()
        yield self.data[-1:]


async def test_of_large_bodies_only_some_are_held_at_once(client, monkeypatch):
    monkeypatch.setattr(problems, "MOST_LARGE", 2)
    slow = [Slow(MOST), Slow(MOST)]
    posts = [asyncio.create_task(client.post("/echo", content=one)) for one in slow]
    for one in slow:
        await one.taken.wait()
    refused = await client.post("/echo", content=body(USUAL + 1))
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "edge.busy", "2")
    assert (await client.post("/echo", content=body(USUAL))).status_code == 200
    slow[0].go.set()
    assert (await posts[0]).json() == MOST - 9
    assert (await client.post("/echo", content=body(MOST))).status_code == 200
    slow[1].go.set()
    await posts[1]


async def test_what_is_too_large_gives_its_place_back(client, monkeypatch):
    monkeypatch.setattr(problems, "MOST_LARGE", 1)
    for _ in range(3):
        refused = await client.post("/echo", content=body(MOST + 1))
        assert (refused.status_code, refused.json()["code"]) == (413, "payload.too_large")
    assert (await client.post("/echo", content=body(MOST))).status_code == 200


async def test_nothing_is_read_of_a_stranger_s_body(client):
    slow = Slow(MOST)
    refused = await client.post("/echo", content=slow, headers={"Authorization": "you"})
    assert (refused.status_code, slow.taken.is_set()) == (401, False)
