"""Penalties, by the formulas of their sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.options import Sampling
from inference_worker.penalties import Penalties

tokens = st.lists(st.integers(0, 9), max_size=30)
_PENALTY = st.floats(-2, 2, width=32)


def _applied(how: Sampling, prompt: list[int], answer: list[int], scores: np.ndarray) -> np.ndarray:
    penalties = Penalties(how, prompt)
    for token in answer:
        penalties.take(token)
    changed = scores.copy()
    penalties.apply(changed)
    return changed


@given(tokens, tokens, _PENALTY, _PENALTY)
def test_frequency_and_presence_are_the_openai_apis(prompt, answer, frequency, presence):
    # mu[j] -> mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence; c counts the answer alone.
    scores = np.linspace(-3, 3, 10, dtype=np.float32)
    got = _applied(Sampling(frequency_penalty=frequency, presence_penalty=presence), prompt, answer, scores)
    counts = np.array([answer.count(token) for token in range(10)])
    np.testing.assert_allclose(got, scores - counts * frequency - (counts > 0) * presence, atol=1e-4)


@pytest.mark.slow
def test_the_repetition_penalty_is_that_of_transformers():
    # The worked example of transformers' RepetitionPenaltyLogitsProcessor test: seen tokens, each penalized once.
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    prompt, answer = [0, 1, 1, 4], [1, 5, 5]
    scores = np.linspace(-2, 2, 7, dtype=np.float32)
    theirs = RepetitionPenaltyLogitsProcessor(penalty=1.7)(
        torch.tensor([[*prompt, *answer]]), torch.from_numpy(scores.copy())[None]
    )
    np.testing.assert_allclose(_applied(Sampling(repetition_penalty=1.7), prompt, answer, scores), theirs[0], rtol=1e-6)


def test_without_a_penalty_there_is_none():
    assert Penalties(Sampling(), [1]).none
    assert not any(
        Penalties(Sampling(**{name: 1.5}), [1]).none
        for name in ("repetition_penalty", "presence_penalty", "frequency_penalty")
    )
