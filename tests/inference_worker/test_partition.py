"""What is in hand of a partition: bounded, taken once, and let go of whole."""

from __future__ import annotations

import asyncio

import pytest

from inference_worker.pace import MANY, pause
from inference_worker.partition import AT_ONCE, LOOK_AHEAD, InHand


async def test_a_slow_first_one_stops_the_flow_and_its_end_lets_it_go_on():
    flows: list[bool] = []
    in_hand = InHand(flows.append)
    first = asyncio.Event()

    async def slow() -> None:
        await first.wait()

    async def quick() -> None:
        pass

    in_hand.take(0, slow())
    offset = 0
    while not flows:
        offset += 1
        in_hand.take(offset, quick())
    assert flows == [False]
    # What may be on its way by then makes no more than the whole look-ahead.
    assert len(in_hand.offsets) - 1 + AT_ONCE == LOOK_AHEAD
    await asyncio.sleep(0)
    assert in_hand.offsets.committable == 0
    first.set()
    await in_hand.settled()
    await asyncio.sleep(0)
    assert flows == [False, True]
    assert in_hand.offsets.committable == offset + 1


async def test_what_is_let_go_of_is_not_done():
    in_hand = InHand(lambda _: None)
    in_hand.take(3, asyncio.Event().wait())  # type: ignore[arg-type]  # never returns
    await asyncio.sleep(0)
    await in_hand.let_go()
    assert in_hand.offsets.committable == 3


async def test_a_message_that_comes_again_is_not_taken_again():
    in_hand = InHand(lambda _: None)
    ran: list[int] = []

    async def note(n: int) -> None:
        ran.append(n)

    in_hand.take(3, note(1))
    in_hand.take(3, note(2))
    await in_hand.settled()
    assert ran == [1]


@pytest.mark.parametrize(
    ("speaking", "seconds"), [(0, 0), (1, 0), (2, 0.1 / (MANY - 1)), (MANY, 0.1), (10 * MANY, 0.1)]
)
def test_tokens_are_gathered_the_longer_the_more_are_spoken(speaking, seconds):
    assert pause(speaking, 0.1, now=0.0) == pytest.approx(seconds)


def test_all_answers_are_written_at_the_same_ticks():
    assert [now + pause(MANY, 0.1, now) for now in (5.01, 5.03, 5.099)] == pytest.approx([5.1] * 3)
    assert pause(1, 0.1, now=5.03) == 0
