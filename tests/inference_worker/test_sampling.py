"""The choice of a token: within its bounds, and the same for whoever makes it."""

from __future__ import annotations

import numpy as np
import pytest
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


@given(logits, seeds, indexes, st.floats(0.01, 1))
def test_min_p_keeps_to_a_share_of_the_likeliest(scores, seed, index, p):
    chosen = sample(scores, _how(temperature=1, top_p=1, min_p=p), seed, index)
    assert np.exp(scores[chosen] - scores.max()) >= p - 1e-6


def test_of_equal_scores_top_k_keeps_the_first():
    scores = np.array([1, 3, 2, 2, 2], dtype=np.float32)
    chosen = {sample(scores, _how(temperature=2, top_p=1, top_k=3), seed, 0) for seed in range(200)}
    assert chosen == {1, 2, 3}


def test_each_bound_acts_on_what_those_before_it_left():
    # Probabilities 0.5, 0.25, 0.15, 0.1. Top-k 2 leaves 2/3 and 1/3, and of those 0.6 is the first alone; without it
    # 0.6 would be two. Min-p 0.4 leaves the first two as well.
    scores = np.log(np.array([0.5, 0.25, 0.15, 0.1], dtype=np.float32))
    drawn = {
        name: {sample(scores, _how(temperature=1, **how), seed, 0) for seed in range(300)}
        for name, how in {
            "top_p": {"top_p": 0.6},
            "top_k": {"top_p": 0.6, "top_k": 2},
            "min_p": {"top_p": 0.6, "min_p": 0.4},
        }.items()
    }
    assert drawn == {"top_p": {0, 1}, "top_k": {0}, "min_p": {0}}


def test_what_may_not_come_never_comes():
    scores = np.full(3000, -np.inf, dtype=np.float32)
    scores[[5, 2999]] = 0.0
    for how in (
        _how(temperature=1, top_p=1),
        _how(temperature=1, top_p=1, top_k=1000),
        _how(temperature=2, top_p=0.99),
    ):
        assert {sample(scores, how, seed, 0) for seed in range(50)} == {5, 2999}


def test_a_large_vocabulary_is_drawn_from_as_its_probabilities_say():
    # Over many blocks: the sums of blocks and the sums within must meet.
    weights = np.random.default_rng(3).random(5000, dtype=np.float32) ** 8
    drawn = [sample(np.log(weights), _how(temperature=1, top_p=1), 5, index) for index in range(3000)]
    shares = np.add.reduceat(weights / weights.sum(), np.arange(0, 5000, 500))
    np.testing.assert_allclose(np.bincount(np.array(drawn) // 500, minlength=10) / 3000, shares, atol=0.03)


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("p", [0.1, 0.9, 0.999999999])
def test_the_nucleus_of_a_large_vocabulary_is_that_of_a_full_sort(spread, p):
    scores = (np.random.default_rng(4).standard_normal(20_000) * spread).astype(np.float32)
    weights = np.exp(scores.astype(np.float64))
    order = np.argsort(-weights, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(weights[order]) / weights.sum(), p)) + 1]
    drawn = {sample(scores, _how(temperature=1, top_p=p), seed, 0) for seed in range(400)}
    border = weights[kept[-1]]
    assert all(weights[token] >= border * (1 - 1e-4) for token in drawn)
    # And none is left out: those that are drawn have as much of the mass as chance gives them.
    inner = set(order[: max(len(kept) // 2, 1)].tolist())
    share = weights[list(inner)].sum() / weights[kept].sum()
    assert (
        abs(
            len([1 for seed in range(400) if sample(scores, _how(temperature=1, top_p=p), seed, 0) in inner]) / 400
            - share
        )
        < 0.1
    )


def test_a_temperature_of_nearly_0_is_0():
    scores = np.array([1, 1.0001, 1], dtype=np.float32)
    assert {sample(scores, _how(temperature=1e-50, top_p=1), seed, 0) for seed in range(50)} == {1}


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
