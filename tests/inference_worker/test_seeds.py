"""In deterministic mode the same seed gives the same tokens, whatever else is in the batch and wherever it stands."""

from __future__ import annotations

import pytest

from inference_worker.engine import CHUNK, Engine
from inference_worker.options import Sampling
from inference_worker.sequence import Sequence
from inference_worker.text import Detokenizer, TextStream
from tests.inference_worker.small_llama import VOCABULARY, ours
from tests.inference_worker.spelling import tokenizer

pytestmark = pytest.mark.slow


def _request(name: str, seed: int, length: int, **options: object) -> Sequence:
    how = Sampling(temperature=1.2, top_p=0.95, min_p=0.001, frequency_penalty=0.2, max_tokens=30, **options)
    prompt = [(7 * at + seed) % VOCABULARY for at in range(length)]
    return Sequence(
        id=name,
        prompt=prompt,
        how=how,
        seed=seed,
        limit=30,
        rank=1,
        deadline=10**6,
        text=TextStream(Detokenizer(tokenizer())),
    )


def _run(engine: Engine, now: int = 0) -> None:
    for _ in range(500):
        if engine.idle:
            return
        engine.step(now)
    raise AssertionError("the engine did not come to an end")


def test_company_changes_no_token(tmp_path):
    engine = Engine(ours(tmp_path, fixed_chunk=CHUNK), (), fixed=True)
    alone = _request("alone", 11, 40)
    engine.add(alone)
    _run(engine)
    for number in range(3):
        engine.add(_request(f"other {number}", number, 20 + 30 * number))
        engine.step(0)
    crowded, otherwise = _request("crowded", 11, 40), _request("otherwise", 12, 40)
    engine.add(crowded)
    _run(engine)
    engine.add(otherwise)
    _run(engine)
    assert len(alone.answer) == 30
    assert crowded.answer == alone.answer
    assert otherwise.answer != alone.answer
