"""The tiers and timers of these tests have topics of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backbone.redis import connect
from tests.support import apart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from backbone.settings import Settings
    from barnabas.local.stack import LocalStack


@pytest.fixture(scope="session")
async def settings(stack: LocalStack) -> Settings:
    """The run's servers, and topics that no other test's services read."""
    return await apart(stack.settings, "streams-tests")


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the run's Valkey."""
    client = connect(settings)
    yield client
    await client.aclose()
