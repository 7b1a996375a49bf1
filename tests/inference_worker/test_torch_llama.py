"""Our forward in PyTorch against transformers' own, on small random weights: chunks, company, deterministic mode."""

from __future__ import annotations

import random

import numpy as np
import pytest

from inference_worker.runners.base import Work
from tests.inference_worker.small_llama import CONTEXT, SLOTS, VOCABULARY, expected, ours

pytestmark = pytest.mark.slow


def _tokens(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(VOCABULARY), k=count)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


@pytest.mark.parametrize("fixed_chunk", [0, 64])
def test_scores_equal_those_of_transformers(folder, fixed_chunk):
    runner = ours(folder, fixed_chunk=fixed_chunk)
    tokens = _tokens(1, 40)
    scores = [runner.step([Work(2, tokens[:30], 0)])[0]]
    scores += [runner.step([Work(2, [tokens[at]], at)])[0] for at in range(30, 40)]
    np.testing.assert_allclose(np.stack(scores), expected(tokens)[29:], atol=1e-4)


def test_a_prompt_in_chunks_scores_as_a_whole_one(folder):
    runner = ours(folder)
    tokens = _tokens(2, 150)
    for begin, end in ((0, 64), (64, 65), (65, 140)):
        assert len(runner.step([Work(0, tokens[begin:end], begin, scored=False)])) == 0
    np.testing.assert_allclose(runner.step([Work(0, tokens[140:], 140)])[0], expected(tokens)[-1], atol=1e-4)


@pytest.mark.parametrize("fixed_chunk", [0, 64])
def test_sequences_of_mixed_length_do_not_disturb_one_another(folder, fixed_chunk):
    runner = ours(folder, fixed_chunk=fixed_chunk)
    texts = [_tokens(10 + slot, 8 + 17 * slot) for slot in range(SLOTS)]
    # Half are decoding already, in slots that were used before, when the others bring their prompts in the same step.
    for slot in range(SLOTS):
        runner.step([Work(slot, _tokens(50, 60), 0)])
    for slot in (0, 3):
        runner.step([Work(slot, texts[slot][:-1], 0)])
    batch = [Work(3, texts[3][-1:], len(texts[3]) - 1), Work(1, texts[1], 0), Work(0, texts[0][-1:], len(texts[0]) - 1)]
    scores = runner.step([*batch, Work(2, texts[2], 0)])
    for row, slot in zip(scores, (3, 1, 0, 2), strict=True):
        np.testing.assert_allclose(row, expected(texts[slot])[-1], atol=1e-4)


def test_a_slot_can_be_filled_to_its_last_position(folder):
    runner = ours(folder)
    tokens = _tokens(4, CONTEXT)
    runner.step([Work(1, tokens[:-1], 0)])
    np.testing.assert_allclose(runner.step([Work(1, tokens[-1:], CONTEXT - 1)])[0], expected(tokens)[-1], atol=1e-4)


def test_in_deterministic_mode_company_and_place_change_no_bit(folder):
    runner = ours(folder, fixed_chunk=64)
    text, others = _tokens(5, 60), [_tokens(60 + n, 20 + 9 * n) for n in range(3)]

    def scores(slot: int, company: dict[int, list[int]]) -> list[np.ndarray]:
        for place, tokens in company.items():
            runner.step([Work(place, tokens, 0)])
        got = [runner.step([Work(slot, text[:40], 0)])[0]]
        for at in range(40, 60):
            batch = [Work(slot, [text[at]], at), *(Work(p, [at], len(t) + at - 40) for p, t in company.items())]
            got.append(runner.step(batch)[0])
        return got

    alone = scores(0, {})
    crowded = scores(3, dict(enumerate(others)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, crowded, strict=True))
