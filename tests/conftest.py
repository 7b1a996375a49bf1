"""What many tests share: one real Kafka and one real Valkey for the whole run, on free ports, in a home of their own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


# These machines are noisy: how long an example takes says nothing.
hypothesis_settings.register_profile("barnabas", deadline=None, print_blob=True, max_examples=50)
for name, examples in (("few", 10), ("many", 200)):
    parent = hypothesis_settings.get_profile("barnabas")
    hypothesis_settings.register_profile(name, parent=parent, max_examples=examples)
hypothesis_settings.load_profile("barnabas")


def pytest_configure() -> None:
    """Hear Ctrl-C where a script runs the tests in its background: programs that are started here inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the servers: `make check` leaves it out. Files that take long come first, and short ones fill up."""
    long = set()
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.stack)
        if item.get_closest_marker("stack") or item.get_closest_marker("slow"):
            long.add(item.path)
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Kafka with all topics, and Valkey; none of the services."""
    # Each program's configuration quotes in its own way.
    home = tmp_path_factory.mktemp("stack") / 'a "home" of our own'
    async with LocalStack(Settings(home=home, **FREE_PORTS), only=("kafka", "valkey")) as running:
        yield running


@pytest.fixture(scope="session")
def settings(stack: LocalStack) -> Settings:
    """Settings of a process that uses the stack."""
    return stack.settings
