"""The engine and its admission, on a model of arithmetic: the next token follows from the last one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.engine import CHUNK, Engine
from inference_worker.kv_cache import Bounds
from inference_worker.requests import CompleteRequest
from inference_worker.runners.base import Runner, Work
from inference_worker.sequence import Sequence
from inference_worker.text import Detokenizer, TextStream
from schemas.records import FinishReason
from tests.inference_worker.test_text import TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Sequence as Listing

    from inference_worker.scheduled import Output

VOCABULARY = 50
END = 49


class Arithmetic(Runner):
    """Remembers what each slot was given, and likes best the sum of it modulo the vocabulary."""

    max_context = 4096
    bytes_per_token = 1
    format = "none"

    def __init__(self, slots: int = 4) -> None:
        self.slots = slots
        self.cache: list[list[int]] = [[] for _ in range(slots)]
        self.steps: list[list[Work]] = []

    def step(self, batch: Listing[Work]) -> list[np.ndarray]:
        self.steps.append(list(batch))
        rows = []
        for work in batch:
            assert work.start <= len(self.cache[work.slot])
            assert work.tokens
            held = self.cache[work.slot][: work.start] + list(work.tokens)
            self.cache[work.slot] = held
            if work.scored:
                rows.append(np.eye(VOCABULARY, dtype=np.float32)[self.next(held)] * 9)
        return rows

    @staticmethod
    def next(held: Listing[int]) -> int:
        return (7 * len(held) + sum(held)) % END


def _answer(prompt: list[int], count: int) -> list[int]:
    held = list(prompt)
    for _ in range(count):
        held.append(Arithmetic.next(held))
    return held[len(prompt) :]


_ids = itertools.count()


def _sequence(prompt: list[int], limit: int = 5, *, rank: int = 1, deadline: int = 10**6, **more) -> Sequence:
    how = CompleteRequest(prompt="x", temperature=0)
    text = TextStream(Detokenizer(TOKENIZER))
    common = {"id": f"t{next(_ids)}", "prompt": prompt, "limit": limit, "rank": rank, "deadline": deadline}
    return Sequence(how=how, seed=0, text=text, **common, **more)


def _run(engine: Engine, now: int = 0, most: int = 2000) -> list[Output]:
    outputs = []
    for _ in range(most):
        if engine.idle:
            return outputs
        outputs += engine.step(now)
    raise AssertionError("the engine did not come to an end")


def _tokens(outputs: list[Output], request: Sequence) -> list[int]:
    mine = [out for out in outputs if out.id == request.id]
    got: list[int] = []
    for out in mine:
        assert not out.tokens or out.index == len(request.answer) - sum(len(o.tokens) for o in mine) + len(got)
        got += out.tokens
    assert [out.finish for out in mine if out.finish] == [request.ended]
    assert [out.started for out in mine].count(True) <= 1
    return got


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=12),
    st.booleans(),
    st.booleans(),
)
def test_each_sequence_gets_its_own_answer_whatever_else_runs(requests, fixed, tight):
    """Tight: two long prompts fill the cache, and who is evicted is computed anew."""
    runner = Arithmetic()
    runner.max_context = 320
    bounds = Bounds.of(runner, 2, 2 * 320) if tight else None
    engine = Engine(runner, {END}, bounds, fixed=fixed)
    sequences = [_sequence([n % 40] * n, limit, rank=rank) for n, limit, rank in requests]
    outputs = []
    for request in sequences:
        engine.add(request)
        outputs += engine.step(0)
    outputs += _run(engine)
    for request, (n, limit, _) in zip(sequences, requests, strict=True):
        assert _tokens(outputs, request) == _answer([n % 40] * n, limit)


@given(st.integers(1, 300), st.integers(1, 20), st.data(), st.booleans())
def test_a_prefix_is_replayed_and_the_rest_is_the_same(length, limit, data, fixed):
    cut = data.draw(st.integers(0, limit))
    whole = _answer([3] * length, limit)
    request = _sequence([3] * length, limit)
    request.replay(whole[:cut])
    engine = Engine(Arithmetic(), {END}, fixed=fixed)
    engine.add(request)
    assert _tokens(_run(engine), request) == whole[cut:]
    assert request.answer == whole
    assert request.ended is FinishReason.LENGTH


def test_a_long_prompt_holds_back_no_other_token():
    runner = Arithmetic()
    engine = Engine(runner, {END})
    short, long = _sequence([1, 2], 40), _sequence([5] * 1000, 3)
    engine.add(short)
    engine.step(0)
    slot = short.slot
    engine.add(long)
    outputs = _run(engine)
    assert _tokens(outputs, long) == _answer([5] * 1000, 3)
    for works in runner.steps[1:20]:
        assert slot in [work.slot for work in works]
        assert sum(len(work.tokens) for work in works if len(work.tokens) > 1) <= CHUNK


@pytest.mark.parametrize("waiting", [False, True])
def test_cancel_and_deadline_end_a_sequence_before_the_next_step(waiting):
    runner = Arithmetic(slots=1)
    engine = Engine(runner, {END})
    first, second = _sequence([1], 100, deadline=50), _sequence([2], 100, deadline=60)
    engine.add(first)
    engine.step(0)
    engine.add(second)
    engine.step(0)
    target = second if waiting else first
    cancelled = engine.cancel(target.id)
    assert cancelled
    assert (cancelled.finish, cancelled.index) == (FinishReason.CANCELLED, len(target.answer))
    assert engine.cancel(target.id) is None
    other = first if waiting else second
    engine.step(10)
    steps = len(runner.steps)
    assert [out.finish for out in engine.step(60)] == [FinishReason.DEADLINE]
    assert len(runner.steps) == steps
    assert other.ended is FinishReason.DEADLINE
    assert engine.idle


@pytest.mark.parametrize("paused", [True, False])
def test_a_sequence_that_was_paused_or_evicted_can_be_cancelled(paused):
    runner = Arithmetic(slots=3)
    engine = Engine(runner, {END}, Bounds(1, 3, 64, 192 if paused else 128))
    low = _sequence([1] * 30, 30, rank=2)
    engine.add(low)
    engine.step(0)
    engine.add(_sequence([1] * 40, 8, rank=0))
    engine.step(0)
    assert (low.paused, low.slot < 0) == (paused, not paused)
    assert (engine.load.running, engine.load.paused, engine.load.waiting) == (1, int(paused), int(not paused))
    assert engine.cancel(low.id)
    assert engine.load.tokens <= 48
    _run(engine)


def test_a_whole_answer_that_is_replayed_ends_without_a_step():
    runner = Arithmetic(slots=1)
    engine = Engine(runner, {END})
    request = _sequence([1], 3)
    request.replay([4, 5, 6])
    engine.add(request)
    assert [(out.index, out.finish) for out in engine.step(10**7)] == [(3, FinishReason.LENGTH)]
    assert engine.idle
    assert not runner.steps


def test_what_has_not_begun_in_time_never_begins():
    engine = Engine(Arithmetic(slots=1), {END})
    running, late = _sequence([1], 5), _sequence([2], 5, start_by=10)
    engine.add(running)
    engine.step(0)
    engine.add(late)
    outputs = _run(engine, now=10)
    assert _tokens(outputs, late) == []
    assert late.ended is FinishReason.DEADLINE
    assert running.ended is FinishReason.LENGTH


def test_an_end_token_ends_the_answer_and_is_no_part_of_it():
    prompt = next([n] for n in range(END) if END // 2 in _answer([n], 6)[1:])
    engine = Engine(Arithmetic(), {END // 2})
    request = _sequence(prompt, 50)
    engine.add(request)
    got = _tokens(_run(engine), request)
    assert got == _answer(prompt, len(got))
    assert Arithmetic.next([*prompt, *got]) == END // 2
    assert request.ended is FinishReason.STOP


def test_a_failed_step_ends_what_ran_and_nothing_else():
    engine = Engine(Arithmetic(slots=1), {END})
    running, waiting = _sequence([1], 5), _sequence([2], 5)
    engine.add(running)
    engine.add(waiting)
    engine.step(0)
    assert [(out.id, out.finish) for out in engine.fail()] == [(running.id, FinishReason.ERROR)]
    assert _tokens(_run(engine), waiting) == _answer([2], 5)
