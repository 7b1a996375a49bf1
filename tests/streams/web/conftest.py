"""What the tests of fetching share: a Valkey of their own, which the others' tasks don't read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backbone.ids import new_id
from backbone.redis import connect
from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis


@pytest.fixture(scope="session")
async def valkey(tmp_path_factory) -> AsyncIterator[LocalStack]:
    settings = Settings(home=tmp_path_factory.mktemp("web") / "home", **FREE_PORTS)
    async with LocalStack(settings, only=("valkey",)) as running:
        yield running


@pytest.fixture
def settings(valkey, tmp_path) -> Settings:
    return valkey.settings.model_copy(
        update={"host_pause": timedelta(milliseconds=20), "cache": tmp_path, "topic_prefix": f"{new_id()}."}
    )


@pytest.fixture
async def redis(settings) -> AsyncIterator[Redis]:
    client = connect(settings)
    yield client
    await client.aclose()
