"""Hidden states by the port, of every runner, and going back in a slot: as transformers has them for the same weights.

float32 is within 1e-4 of states whose standard deviation is about 1; of the others the mean error is bounded, as a share of
that deviation.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from inference_worker.runners import native
from inference_worker.runners.base import Runner, Work
from tests.inference_worker.small_llama import VARIANTS, VOCABULARY, in_int8, ours, reference
from tests.inference_worker.test_transformers_runner import MODELS, saved_model

pytestmark = pytest.mark.slow

MEAN_ERROR = {"bfloat16": 0.03, "int8": 0.075}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    compiled = native.kernels(tmp_path_factory.mktemp("kernels"), wait=120)
    if compiled is None:
        pytest.skip("needs a C compiler")
    return compiled


def _tokens(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(VOCABULARY), k=count)


def _states(tokens: list[int], model: Any) -> np.ndarray:
    """Transformers' last hidden states, after the last norm, `[tokens, hidden]`."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1][0].float().numpy()


def _read(runner: Runner) -> tuple[list[list[int]], list[np.ndarray]]:
    """Two texts in chunks, down to one token, beside one that is scored; then the first slot decodes."""
    texts = [_tokens(1, 61), _tokens(2, 40)]
    spoken = _tokens(3, 30)
    runner.step([Work(0, spoken[:-2], 0, scored=False)])
    got: list[list[np.ndarray]] = [[], []]
    first = [
        Work(1, texts[0][:40], 0, scored=False, states=True),
        Work(0, [spoken[-2]], 28),
        Work(2, texts[1][:1], 0, False, True),
    ]
    parts = runner.step(first)
    assert [len(part) for part in parts] == [40, VOCABULARY, 1]
    got[0].append(parts[0])
    got[1].append(parts[2])
    second = [
        Work(2, texts[1][1:], 1, scored=False, states=True),
        Work(1, texts[0][40:60], 40, scored=False, states=True),
    ]
    parts = runner.step(second)
    got[1].append(parts[0])
    got[0].append(parts[1])
    (last,) = runner.step([Work(1, [texts[0][60]], 60, scored=False, states=True)])
    got[0].append(last)
    return texts, [np.concatenate(parts) for parts in got]


@pytest.mark.parametrize("fixed_chunk", [0, 64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_in_float32_states_equal_those_of_transformers(folder, variant, fixed_chunk):
    texts, got = _read(ours(folder, variant=variant, fixed_chunk=fixed_chunk))
    for text, states in zip(texts, got, strict=True):
        np.testing.assert_allclose(states, _states(text, reference(variant)), atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weights", MEAN_ERROR)
def test_in_smaller_formats_they_are_close(folder, kernels, variant, weights):
    runner = in_int8(folder, kernels, variant) if weights == "int8" else ours(folder, weights, variant=variant)
    texts, got = _read(runner)
    for text, states in zip(texts, got, strict=True):
        wanted = _states(text, reference(variant))
        assert np.abs(states - wanted).mean() < MEAN_ERROR[weights] * wanted.std()


@pytest.mark.parametrize("name", [name for name in MODELS if name != "MambaForCausalLM"])
def test_by_transformers_they_are_its_own(tmp_path, name):
    import torch

    from inference_worker.runners.transformers_runner import TransformersRunner

    theirs, place = saved_model(name, tmp_path)
    runner = TransformersRunner(place, slots=3, max_context=128, dtype=torch.float32, device=torch.device("cpu"))
    texts, got = _read(runner)
    for text, states in zip(texts, got, strict=True):
        np.testing.assert_allclose(states, _states(text, theirs), atol=1e-4)
    _goes_back(runner, theirs)


@pytest.mark.parametrize("variant", ["llama", "mistral", "qwen2-windows"])
def test_a_slot_goes_back_and_on_another_way(folder, kernels, variant):
    _goes_back(ours(folder, variant=variant), reference(variant))
    runner = in_int8(folder, kernels, variant)
    text, end = _tokens(7, 60), _tokens(8, 9)
    (wanted,) = runner.step([Work(0, [*text, *end], 0)])
    runner.step([Work(1, [*text, *_tokens(9, 30)], 0)])
    np.testing.assert_array_equal(runner.step([Work(1, end, 60)])[0], wanted)


def _goes_back(runner: Runner, model: Any) -> None:
    import torch

    text, end = _tokens(7, 60), _tokens(8, 9)
    runner.step([Work(1, [*text, *_tokens(9, 30)], 0)])
    runner.step([Work(1, end[:1], 60)])
    (scores,) = runner.step([Work(1, end[1:], 61)])
    with torch.inference_mode():
        wanted = model(torch.tensor([[*text, *end]])).logits[0, -1].numpy()
    np.testing.assert_allclose(scores, wanted, atol=2e-4)
