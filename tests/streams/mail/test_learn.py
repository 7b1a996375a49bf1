from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mail.learn import Rows, calibrated, fit, sigmoid

NONE = np.zeros(0, np.int64)


def dense(columns: np.ndarray) -> Rows:
    """Rows without a sparse block."""
    return Rows(NONE, NONE, np.zeros(len(columns)), np.asarray(columns, float), 0)


def problem(seed: int, rows: int = 60, width: int = 12) -> tuple[Rows, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, the same as one matrix, labels and penalties; the last column is an intercept."""
    draw = np.random.default_rng(seed)
    used = draw.random((rows, width)) < 0.3
    at, columns = np.nonzero(used)
    values = 1 / np.sqrt(used.sum(1) + 1.0)
    others = np.concatenate([draw.normal(size=(rows, 3)), np.ones((rows, 1))], 1)
    matrix = np.concatenate([used * values[:, None], others], 1)
    labels = (draw.random(rows) < sigmoid(matrix @ draw.normal(size=width + 4) * 2)).astype(float)
    penalty = np.append(draw.uniform(0.05, 2, width + 3), 0.0)
    return Rows(at, columns, values, others, width), matrix, labels, penalty


def loss(weights: np.ndarray, matrix: np.ndarray, labels: np.ndarray, penalty: np.ndarray) -> float:
    """The objective as a textbook has it."""
    scores = matrix @ weights
    said = np.log1p(np.exp(-np.abs(scores))) + np.maximum(scores, 0) - labels * scores
    return float(said.sum() + (penalty * weights**2).sum() / 2)


def newton(matrix: np.ndarray, labels: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Its least point, by Newton's method on the whole matrix."""
    weights = np.zeros(matrix.shape[1])
    for _ in range(50):
        said = 1 / (1 + np.exp(-matrix @ weights))
        slope = matrix.T @ (said - labels) + penalty * weights
        bend = matrix.T @ (matrix * (said * (1 - said))[:, None]) + np.diag(penalty)
        weights = weights - np.linalg.solve(bend, slope)
    return weights


@given(st.integers(0, 1000))
def test_rows_multiply_as_the_matrix_that_they_stand_for(seed):
    rows, matrix, labels, _ = problem(seed)
    weights = np.random.default_rng(seed).normal(size=matrix.shape[1])
    np.testing.assert_allclose(rows.times(weights), matrix @ weights, atol=1e-12)
    np.testing.assert_allclose(rows.transposed_times(labels), matrix.T @ labels, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_fit_is_where_newton_s_method_ends(seed):
    rows, matrix, labels, penalty = problem(seed)
    found, best = fit(rows, labels, penalty), newton(matrix, labels, penalty)
    np.testing.assert_allclose(found, best, atol=0.01)
    assert loss(found, matrix, labels, penalty) <= loss(best, matrix, labels, penalty) * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_there_the_loss_is_flat_by_finite_differences(seed):
    rows, matrix, labels, penalty = problem(seed)
    found = fit(rows, labels, penalty)

    def slope(at: np.ndarray) -> np.ndarray:
        steps = np.eye(len(at)) * 1e-5
        return (
            np.array(
                [loss(at + step, matrix, labels, penalty) - loss(at - step, matrix, labels, penalty) for step in steps]
            )
            / 2e-5
        )

    assert np.linalg.norm(slope(found)) < 0.01 * np.linalg.norm(slope(np.zeros(len(found))))


def test_an_intercept_alone_is_the_log_odds_of_the_share():
    labels = np.array([1.0, 1, 1, 0])
    assert fit(dense(np.ones((4, 1))), labels, np.zeros(1)).tolist() == pytest.approx([math.log(3)], abs=1e-3)


def test_without_penalty_a_yes_or_no_column_is_a_log_odds_ratio():
    # 30 of 40 with it, 10 of 50 without.
    column = np.repeat([1.0, 1, 0, 0], [30, 10, 10, 40])
    labels = np.repeat([1.0, 0, 1, 0], [30, 10, 10, 40])
    weight, intercept = fit(dense(np.stack([column, np.ones(90)], 1)), labels, np.zeros(2))
    assert intercept == pytest.approx(math.log(10 / 40), abs=0.01)
    assert weight == pytest.approx(math.log(30 / 10) - math.log(10 / 40), abs=0.01)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
def test_a_penalty_keeps_what_would_be_endless(penalty):
    # Separable: the slope -sum x * sigmoid(-w) + penalty * w is 0 where count * sigmoid(-w) = penalty * w.
    column = np.repeat([1.0, -1.0], 20)
    (weight,) = fit(dense(column[:, None]), (column > 0).astype(float), np.array([penalty]))
    assert 40 * sigmoid(np.array(-weight)) == pytest.approx(penalty * weight, rel=0.01)


def test_labels_may_be_probabilities():
    soft = fit(dense(np.ones((2, 1))), np.array([0.9, 0.7]), np.zeros(1))
    assert sigmoid(soft).tolist() == pytest.approx([0.8], abs=1e-3)


def test_the_same_rows_give_the_same_weights_to_the_bit():
    assert fit(*problem(3)[::2], problem(3)[3]).tobytes() == fit(*problem(3)[::2], problem(3)[3]).tobytes()


def test_sigmoid_neither_overflows_nor_leaves_its_bounds():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert sigmoid(np.array([-1e4, -1.0, 0.0, 1.0, 1e4])).tolist() == pytest.approx(
            [0, 0.26894, 0.5, 0.73106, 1], abs=1e-5
        )


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (3.0, -1.0), (0.2, 0.5)])
def test_calibration_finds_how_scores_became_labels(slope, shift):
    draw = np.random.default_rng(0)
    scores = draw.normal(scale=3, size=30_000)
    labels = (draw.random(len(scores)) < sigmoid(slope * scores + shift)).astype(float)
    assert calibrated(scores, labels) == pytest.approx((slope, shift), abs=0.12)


def test_scores_that_part_the_labels_give_no_certainty():
    slope, shift = calibrated(np.array([-1.0, -1, 1, 1]), np.array([0.0, 0, 1, 1]))
    # Platt's targets are 1 / (2 + 2) and (2 + 1) / (2 + 2).
    assert sigmoid(slope * np.array([-1.0, 1]) + shift).tolist() == pytest.approx([0.25, 0.75], abs=0.01)
