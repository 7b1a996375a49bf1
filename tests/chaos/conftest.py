from __future__ import annotations

import pytest

from tests.chaos.world import World, all_well


@pytest.fixture
def world() -> World:
    """A log in which all is well."""
    return all_well()
