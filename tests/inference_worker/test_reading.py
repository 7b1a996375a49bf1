"""Texts that are read and labels that are weighed: through the engine's steps, beside answers, whoever is evicted."""

from __future__ import annotations

import base64
import itertools
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.clock import now_ms
from inference_worker.classify import ClassifyRequest, ClassifyTexts
from inference_worker.embed import EmbedRequest, EmbedTexts
from inference_worker.embedding import Embedding
from inference_worker.engine import CHUNK, Engine
from inference_worker.errors import RequestError, UnsupportedOptionError
from inference_worker.kv_cache import Bounds
from inference_worker.likelihoods import Likelihoods, beginnings
from inference_worker.live_engine import LiveEngine
from inference_worker.reading import Reading
from schemas.records import FinishReason, Task
from schemas.tiers import Tier
from tests.inference_worker.test_engine import END, VOCABULARY, Arithmetic, _answer, _sequence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from inference_worker.runners.base import Work

HIDDEN = 6
_ids = itertools.count()


class Reader(Arithmetic):
    """Arithmetic that also has hidden states, and whose scores tell all that it was given."""

    hidden = HIDDEN

    def step(self, batch: Sequence[Work]) -> list[np.ndarray]:
        scores = iter(super().step(batch))
        made = []
        for work in batch:
            held = self.cache[work.slot]
            if work.states:
                assert not work.scored
                made.append(np.stack([_state(held[: work.start + n + 1]) for n in range(len(work.tokens))]))
            elif work.scored:
                next(scores)
                made.append(_scores(held))
        return made


def _state(held: Sequence[int]) -> np.ndarray:
    return np.random.default_rng([len(held), sum(held), *held[-3:]]).normal(size=HIDDEN).astype(np.float32)


def _scores(held: Sequence[int]) -> np.ndarray:
    scores = np.random.default_rng([7, sum(held), *held]).normal(size=VOCABULARY).astype(np.float32)
    scores[Arithmetic.next(held)] = 9
    return scores


def _log(prompt: Sequence[int], answer: Sequence[int]) -> float:
    total, held = 0.0, list(prompt)
    for token in answer:
        scores = _scores(held).astype(np.float64)
        total += scores[token] - np.log(np.exp(scores).sum())
        held.append(token)
    return total


def _common(rank: int = 1, **more) -> dict:
    return {"id": f"r{next(_ids)}", "rank": rank, "deadline": 10**6, **more}


def _run(engine: Engine, most: int = 3000) -> list:
    outputs = []
    for _ in range(most):
        if engine.idle:
            return outputs
        outputs += engine.step(0)
    raise AssertionError("it never came to an end")


_TEXTS = st.lists(
    st.tuples(st.integers(1, 300), st.sampled_from(["mean", "last", "cls"]), st.integers(0, 3)), min_size=1, max_size=8
)
_LABELS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=6, unique=True)


@given(_TEXTS, _LABELS, st.integers(1, 250), st.booleans(), st.booleans())
def test_each_is_read_as_if_it_were_alone(texts, labels, length, fixed, tight):
    """Tight: two long ones fill the cache, and who is evicted is read anew."""
    runner = Reader()
    runner.max_context = 320
    engine = Engine(runner, {END}, Bounds.of(runner, 2, 2 * 320) if tight else None, fixed=fixed)
    read = [Embedding(prompt=[n % 40] * n, pooling=how, **_common(rank)) for n, how, rank in texts]
    weighed = Likelihoods(prompt=[length % 40] * length, answers=labels, **_common())
    spoken = _sequence([3] * 30, 12, rank=0)
    outputs = []
    for one in (*read[:4], weighed, spoken, *read[4:]):
        engine.add(one)
        outputs += engine.step(0)
    outputs += _run(engine)
    assert spoken.answer == _answer([3] * 30, 12)
    for (n, how, _), one in zip(texts, read, strict=True):
        assert one.ended is FinishReason.STOP
        states = np.stack([_state([n % 40] * count) for count in range(1, n + 1)])
        wanted = {"mean": states.mean(axis=0), "last": states[-1], "cls": states[0]}[how]
        np.testing.assert_allclose(one.vector(normalize=False), wanted, atol=1e-5)
    np.testing.assert_allclose(weighed.logs, [_log(weighed.prompt, label) for label in labels], atol=1e-6)
    for one in (*read, weighed):
        assert [out.finish for out in outputs if out.id == one.id and out.finish] == [FinishReason.STOP]
        assert [out.started for out in outputs if out.id == one.id].count(True) == 1
    assert engine.load.tokens == 0


def test_labels_share_the_prompt_and_their_beginnings():
    assert beginnings([(1, 2, 3), (1, 2, 4), (5,)]) == [(), (1,), (1, 2)]
    runner = Reader()
    engine = Engine(runner, {END})
    engine.add(Likelihoods(prompt=[9] * (CHUNK + 10), answers=[(1, 2, 3), (1, 2, 4), (5,)], **_common()))
    _run(engine)
    assert [len(work.tokens) for step in runner.steps for work in step] == [CHUNK, 10, 1, 1]


def test_a_vector_is_cut_before_it_gets_its_length():
    one = Embedding(prompt=[1, 2], pooling="last", **_common())
    one.cached = 2
    assert one.take(np.array([[9, 9, 9], [3, 4, 12]], dtype=np.float32), ()).finish is FinishReason.STOP
    np.testing.assert_allclose(one.vector(), np.array([3, 4, 12]) / 13, rtol=1e-6)
    np.testing.assert_allclose(one.vector(dimensions=2), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(one.vector(dimensions=1, normalize=False), [3])


class Letters:
    """A token a letter, and one before each text that asks for it."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return [48] * special + [ord(letter) % 48 for letter in text]

    def plain(self, text: str) -> str:
        return text


def _model(runner: Reader | None = None) -> SimpleNamespace:
    return SimpleNamespace(id="m", digest="d", runner=runner or Reader(), tokenizer=Letters())


@pytest.fixture
async def live() -> AsyncIterator[tuple[LiveEngine, Reader]]:
    runner = Reader()
    engine = LiveEngine(Engine(runner, {END}), now_ms)
    engine.start()
    yield engine, runner
    await engine.stop()
    assert not engine.crashed.done()


def _task(**more) -> Task:
    times = {"created_at": now_ms(), "start_by": now_ms() + 60_000, "deadline": now_ms() + 60_000} | more
    return Task(id=f"task{next(_ids)}", key="k", kind="llm.embed", tier=Tier.URGENT, payload=b"{}", **times)


async def test_a_batch_of_texts_is_read_side_by_side_and_told_of_once(live):
    engine, runner = live
    texts = ["abc" * n for n in range(1, 40)]
    told = []

    async def tell() -> None:
        told.append(len(runner.steps))

    reading = Reading(engine, _task(), EmbedTexts(EmbedRequest(input=texts), _model(runner)))
    assert await reading.run(tell) is FinishReason.STOP
    result = json.loads(reading.result())
    assert len(told) == 1
    assert [each["index"] for each in result["data"]] == list(range(39))
    assert result["usage"] == {"prompt_tokens": 39 + 3 * 39 * 40 // 2, "total_tokens": 39 + 3 * 39 * 40 // 2}
    assert result["dimensions"] == HIDDEN
    vectors = np.array([each["embedding"] for each in result["data"]], dtype=np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    packed = Reading(engine, _task(), EmbedTexts(EmbedRequest(input=texts, encoding_format="base64"), _model(runner)))
    await packed.run(tell)
    for each, vector in zip(json.loads(packed.result())["data"], vectors, strict=True):
        assert base64.b64decode(each["embedding"]) == vector.astype("<f4").tobytes()


async def test_a_step_that_fails_is_tried_again_and_not_for_ever(live, monkeypatch):
    engine, runner = live
    faults = iter([True, False] + [True] * 100)

    def step(batch):
        if next(faults):
            raise ArithmeticError
        return Reader.step(runner, batch)

    monkeypatch.setattr(runner, "step", step)
    one = Reading(engine, _task(), EmbedTexts(EmbedRequest(input="abc"), _model(runner)))

    async def tell() -> None:
        pass

    assert await one.run(tell) is FinishReason.STOP
    other = Reading(engine, _task(), EmbedTexts(EmbedRequest(input=["abc", "de"]), _model(runner)))
    assert await other.run(tell) is FinishReason.ERROR


async def test_it_ends_as_a_whole_when_it_is_cancelled_or_late(live):
    engine, runner = live
    several = EmbedTexts(EmbedRequest(input=["abc" * 900] * 20), _model(runner))
    cancelled = Reading(engine, _task(), several)

    async def tell() -> None:
        cancelled.cancel()

    assert await cancelled.run(tell) is FinishReason.CANCELLED
    assert cancelled.begun
    late = Reading(engine, _task(start_by=now_ms() - 1), several)
    assert await late.run(tell) is FinishReason.DEADLINE
    assert not late.begun
    over = Reading(engine, _task(deadline=now_ms() - 1), several)
    assert await over.run(tell) is FinishReason.DEADLINE


@pytest.mark.parametrize("calibrate", [True, False])
async def test_labels_get_what_the_text_adds_per_token(live, calibrate):
    engine, runner = live
    request = ClassifyRequest(
        input="the text", labels=["ab", {"name": "abc", "description": "more"}, "x"], calibrate=calibrate
    )
    reading = Reading(engine, _task(), ClassifyTexts(request, _model(runner)))

    async def tell() -> None:
        pass

    assert await reading.run(tell) is FinishReason.STOP
    result = json.loads(reading.result())
    encode = Letters().encode
    with_text, without = (encode(f"abc: more\n\nText: {text}\nLabel:", special=True) for text in ("the text", ""))
    scores = {}
    for name in ("ab", "abc", "x"):
        answer = encode(f" {name}")
        gain = _log(with_text, answer) - (_log(without, answer) if calibrate else 0)
        scores[name] = gain / len(answer)
    shares = {name: np.exp(score) / sum(map(np.exp, scores.values())) for name, score in scores.items()}
    assert result["label"] == max(scores, key=scores.__getitem__)
    assert {fit["label"]: fit["score"] for fit in result["labels"]} == pytest.approx(scores, abs=1e-6)
    assert {fit["label"]: fit["probability"] for fit in result["labels"]} == pytest.approx(shares, abs=1e-6)
    assert {fit["label"]: fit["tokens"] for fit in result["labels"]} == {"ab": 3, "abc": 4, "x": 2}
    assert [fit["label"] for fit in result["labels"]] == sorted(shares, key=lambda name: -shares[name])


def test_what_does_not_fit_is_refused_by_name():
    short = Reader()
    short.max_context = 40
    scores_alone = Reader()
    scores_alone.hidden = 0
    wrong = [
        (lambda: EmbedTexts(EmbedRequest(input=["a", "b" * 40]), _model(short)), "payload.input.1"),
        (lambda: EmbedTexts(EmbedRequest(input="b" * 40), _model(short)), "payload.input"),
        (lambda: EmbedTexts(EmbedRequest(input="b", dimensions=7), _model()), "payload.dimensions"),
        (lambda: ClassifyTexts(ClassifyRequest(input="b" * 40, labels=["a", "b"]), _model(short)), "payload.input"),
        (
            lambda: ClassifyTexts(ClassifyRequest(input="b", labels=["a" * 30, "b" * 30]), _model(short)),
            "payload.labels",
        ),
        (
            lambda: ClassifyTexts(ClassifyRequest(input="b", labels=["a", chr(ord("a") + 48)]), _model()),
            "payload.labels",
        ),
    ]
    for make, field in wrong:
        with pytest.raises(RequestError) as caught:
            make()
        assert caught.value.field == field
    with pytest.raises(UnsupportedOptionError):
        EmbedTexts(EmbedRequest(input="b"), _model(scores_alone))
