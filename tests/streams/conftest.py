"""The tiers and timers of these tests have topics of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import apart

if TYPE_CHECKING:
    from backbone.settings import Settings
    from barnabas.local.stack import LocalStack


@pytest.fixture(scope="session")
async def settings(stack: LocalStack) -> Settings:
    """The run's servers, and topics that no other test's services read."""
    return await apart(stack.settings, "streams-tests")
