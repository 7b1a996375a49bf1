"""The edge with the realtime and batch tiers and the timers, on the run's Kafka and Valkey."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from barnabas.client import Client
from tests.support import beside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from backbone.settings import Settings
    from barnabas.local.stack import LocalStack


@pytest.fixture(scope="session")
async def house(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """The services."""
    home = tmp_path_factory.mktemp("house") / "home"
    async with beside(settings, home, "streams-realtime", "streams-batch", "timers", "edge") as running:
        async with Client(running.edge_url, running.home.api_key.read_text().strip()) as client, asyncio.timeout(60):
            while not await _all_heard_of(client):  # noqa: ASYNC110 - word of them travels by a topic, and by Redis
                await asyncio.sleep(0.05)
        yield running


async def _all_heard_of(client: Client) -> bool:
    there = (await client.ready()).services
    return len(await client.kinds()) >= 3 and len(there) >= 3 and all(one.ready for one in there)


@pytest.fixture
async def client(house: LocalStack) -> AsyncIterator[Client]:
    """A client of the edge."""
    async with Client(house.edge_url, house.home.api_key.read_text().strip()) as client:
        yield client


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that answers nobody: it is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
