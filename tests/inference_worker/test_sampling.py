"""The choice of a token: within its bounds, and the same for whoever makes it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.requests import CompleteRequest
from inference_worker.sampling import sample, seed_of, uniform

logits = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40).map(lambda x: np.array(x, dtype=np.float32))
seeds, indexes = st.integers(0, 2**63 - 1), st.integers(0, 5000)


def _how(**options) -> CompleteRequest:
    return CompleteRequest(prompt="x", **options)


@given(logits, seeds, indexes)
def test_temperature_0_takes_the_likeliest(scores, seed, index):
    assert scores[sample(scores, _how(temperature=0), seed, index)] == scores.max()


@given(logits, seeds, indexes, st.integers(1, 50))
def test_top_k_keeps_to_the_k_likeliest(scores, seed, index, k):
    chosen = sample(scores, _how(temperature=2, top_p=1, top_k=k), seed, index)
    assert (scores > scores[chosen]).sum() < k


@given(logits, seeds, indexes, st.floats(0.01, 1))
def test_top_p_keeps_to_the_smallest_set_of_that_mass(scores, seed, index, p):
    chosen = sample(scores, _how(temperature=1, top_p=p), seed, index)
    weights = np.exp(scores.astype(np.float64) - scores.max())
    likelier = weights[weights > weights[chosen]].sum() / weights.sum()
    assert likelier <= p + 1e-9


@given(logits, seeds, indexes, st.floats(0.05, 2), st.floats(0.1, 1))
def test_the_choice_depends_on_seed_and_index_alone(scores, seed, index, temperature, p):
    how = _how(temperature=temperature, top_p=p)
    assert sample(scores, how, seed, index) == sample(scores.copy(), how, seed, index)


def test_tokens_come_as_often_as_their_probability_says():
    scores = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    counts = np.bincount([sample(scores, _how(temperature=1, top_p=1), 11, index) for index in range(4000)])
    np.testing.assert_allclose(counts / 4000, [0.5, 0.3, 0.2], atol=0.03)


@given(seeds, indexes)
def test_uniform_is_in_the_half_open_interval(seed, index):
    assert 0 <= uniform(seed, index) < 1


def test_uniform_never_changes_between_releases():
    # Another release that goes on with an answer must choose as the one that began it.
    assert uniform(42, 7) == 0.4502664720018066
    assert len({uniform(1, 0), uniform(1, 1), uniform(2, 0), uniform(2, 1)}) == 4


def test_a_task_without_a_seed_has_the_same_one_at_each_attempt():
    assert seed_of("a") == seed_of("a") != seed_of("b")
    assert 0 <= seed_of("a") < 2**63
