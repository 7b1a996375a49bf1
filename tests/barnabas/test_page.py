from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from barnabas.errors import PortTakenError
from barnabas.page import Page


async def test_it_serves_its_page_and_nothing_else() -> None:
    async with Page(b"<h1>Bread</h1>", 0) as page, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(page.url)
        assert (answer.status_code, answer.content) == (200, b"<h1>Bread</h1>")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        robots = await client.get(httpx.URL(page.url).join("/robots.txt"))
        assert robots.status_code == 404


async def test_a_guest_who_says_nothing_sensible_is_let_go() -> None:
    async with Page(b"", 0) as page, httpx.AsyncClient(trust_env=False) as client:
        host, port = httpx.URL(page.url).host, httpx.URL(page.url).port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"x" * 200_000)
        writer.write_eof()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert (await client.get(page.url)).status_code == 200


async def test_a_taken_port_is_named() -> None:
    async with Page(b"", 0) as page:
        port = httpx.URL(page.url).port
        assert port is not None
        with pytest.raises(PortTakenError, match=f"port {port} .*BARNABAS_DEMO_PORT"):
            await Page(b"", port).__aenter__()
