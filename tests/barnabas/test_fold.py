from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.errors import ConnectionLostError, TaskCancelledError, TaskError, TaskExpiredError, TaskFailedError
from barnabas.fold import Fold, ended
from barnabas.replies import Event, Tokens
from schemas.errors import Problem
from schemas.records import Status
from schemas.tiers import Tier


def piece(words: list[str], first: int, after: int) -> Tokens:
    return Tokens(task="t", index=first, count=after - first, text="".join(words[first:after]))


def event(status: Status = Status.STARTED, offset: int = 0, **more: object) -> Event:
    return Event(
        task="t",
        kind="llm.chat",
        tier=Tier.URGENT,
        status=status,
        attempt=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        topic="results",
        partition=0,
        offset=offset,
        **more,
    )


@st.composite
def tellings(draw: st.DrawFn) -> tuple[list[str], list[Tokens]]:
    """An answer's words, told several times from the beginning, each time cut otherwise and the last time to the end.

    What its end brings is of no token: a piece of its own, or in one with the tokens for who comes later.
    """
    words = draw(st.lists(st.text(max_size=4), max_size=20))
    tail = draw(st.text(max_size=3))
    frames = []
    for last in [*draw(st.lists(st.integers(0, len(words)), max_size=4)), len(words)]:
        inner = draw(st.sets(st.integers(1, max(last - 1, 1)), max_size=6)) if last > 1 else set()
        cuts = sorted({0, last, *inner})
        frames += [piece(words, first, after) for first, after in pairwise(cuts)]
        if last == len(words) and tail:
            if frames and cuts != [0] and draw(st.booleans()):
                frames[-1] = msgspec.structs.replace(frames[-1], text=frames[-1].text + tail)
            else:
                frames.append(Tokens(task="t", index=last, count=0, text=tail))
    return [*words, tail], frames


@given(tellings())
def test_each_token_is_told_once_however_often_the_connection_broke(told: tuple[list[str], list[Tokens]]) -> None:
    words, frames = told
    fold = Fold()
    new = [frame for frame in map(fold.take, frames) if frame is not None]
    assert "".join(frame.text for frame in new) == "".join(words)
    assert sum(frame.count for frame in new) == len(words) - 1
    assert [frame.index for frame in new] == [sum(before.count for before in new[:n]) for n in range(len(new))]


def test_a_hole_is_an_error() -> None:
    fold = Fold()
    fold.take(piece(["a", "b", "c"], 0, 1))
    with pytest.raises(ConnectionLostError, match="token 1 of t did not come"):
        fold.take(piece(["a", "b", "c"], 2, 3))


def test_an_event_is_told_once() -> None:
    fold = Fold()
    started, retrying = event(offset=3), event(Status.RETRYING, offset=7)
    assert [fold.take(frame) for frame in (started, retrying, started, retrying)] == [started, retrying, None, None]


def test_a_success_is_a_result() -> None:
    result = ended(event(Status.SUCCEEDED, result={"text": "yes"}, tokens=1))
    assert (result.task, result.value, result.tokens) == ("t", {"text": "yes"}, 1)


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        (Status.FAILED, TaskFailedError),
        (Status.EXPIRED, TaskExpiredError),
        (Status.CANCELLED, TaskCancelledError),
    ],
)
def test_another_end_is_raised_with_what_the_worker_said(status: Status, wrong: type[TaskError]) -> None:
    problem = Problem("payload.invalid", "no such field", "payload.x", retryable=True)
    with pytest.raises(wrong) as caught:
        ended(event(status, error=problem))
    assert caught.value.problem() == problem
    assert caught.value.task_id == "t"
    with pytest.raises(wrong) as caught:
        ended(event(status))
    assert caught.value.code == wrong.code
