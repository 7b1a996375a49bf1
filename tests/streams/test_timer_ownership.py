"""What a service believes of its partitions, with the clock and the group as arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import IllegalGenerationError

from streams.timer_ownership import STILL_SECONDS, Ownership

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Group:
    """A group that has this member, or has it no more."""

    refuses: bool = False
    meanwhile: Callable[[], object] = field(default=lambda: None)

    async def commit(self, offsets) -> None:
        self.meanwhile()
        if self.refuses:
            raise IllegalGenerationError


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def ownership(group, clock) -> Ownership:
    return Ownership(group, "timers", lambda: clock[0])


async def test_a_partition_is_sure_once_the_group_says_so(ownership):
    assert not ownership.is_sure(1)
    assert await ownership.ask([1])
    assert ownership.is_sure(1)
    assert not ownership.is_sure(2)


async def test_a_member_of_an_older_generation_is_sure_of_nothing(ownership, group):
    group.refuses = True
    assert not await ownership.ask([1])
    assert not ownership.is_sure(1)


async def test_after_it_stood_still_it_is_sure_of_nothing(ownership, clock):
    assert await ownership.ask([1])
    clock[0] += STILL_SECONDS + 0.1
    assert not ownership.is_sure(1)


async def test_an_answer_from_before_it_stood_still_says_nothing(ownership, group, clock):
    group.meanwhile = lambda: clock.__setitem__(0, STILL_SECONDS + 0.1)
    assert not await ownership.ask([1])
    assert not ownership.is_sure(1)


async def test_an_answer_from_before_the_group_changed_says_nothing(ownership, group):
    group.meanwhile = ownership.doubt
    assert not await ownership.ask([1])
    assert not ownership.is_sure(1)
