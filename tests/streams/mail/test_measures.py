from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mail.measures import BINS, confusion, spam_measures
from streams.mail.tables import of_confusion, of_spam


def test_a_confusion_by_hand():
    found = confusion(["a", "b", "c"], ["a", "a", "b", "b"], ["a", "b", "b", "b"])
    assert found.counts == ((1, 1, 0), (0, 2, 0), (0, 0, 0))
    assert found.accuracy == 0.75
    # F1 of a is 2 / 3, of b 4 / 5; c neither was nor was called.
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-4)


def test_a_label_that_is_only_called_counts_as_nothing_right():
    assert confusion(["a", "b"], ["a", "a"], ["a", "b"]).macro_f1 == pytest.approx((2 / 3 + 0) / 2, abs=1e-4)


def test_no_mails_are_no_error():
    found = confusion(["a", "b"], [], [])
    assert (found.counts, found.accuracy, found.macro_f1) == (((0, 0), (0, 0)), 0.0, 0.0)


def test_spam_measures_by_hand():
    found = spam_measures(np.array([0.1, 0.2, 0.8, 0.85, 0.95, 0.97]), np.array([0.0, 0, 0, 1, 1, 1]), 0.9)
    assert found.confusion.counts == ((3, 0), (1, 2))
    assert (found.accuracy, found.ham_called_spam, found.spam_called_ham) == (0.8333, 0.0, 0.3333)
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.64 + 0.0225 + 0.0025 + 0.0009) / 6, abs=1e-4)
    # By bins: 0.1, 0.2, (0.8 and 0.85, one of two), (0.95 and 0.97).
    assert found.calibration_error == pytest.approx((0.1 + 0.2 + 2 * 0.325 + 2 * 0.04) / 6, abs=1e-4)
    assert [each.mails for each in found.bins] == [0, 1, 1, 0, 0, 0, 0, 0, 2, 2]
    assert (found.bins[8].said, found.bins[8].were) == (0.825, 0.5)


def test_at_the_threshold_it_is_spam():
    assert spam_measures(np.array([0.9]), np.array([0.0]), 0.9).ham_called_spam == 1.0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=50),
    st.floats(0, 1),
)
def test_figures_agree_with_one_another(mails, threshold):
    said, are = (np.array(values) for values in zip(*mails, strict=True))
    found = spam_measures(said, are, threshold)
    (ham, false), (lost, spam) = found.confusion.counts
    assert ham + false + lost + spam == sum(each.mails for each in found.bins) == found.mails == len(mails)
    assert len(found.bins) == BINS
    assert found.accuracy == pytest.approx((ham + spam) / len(mails), abs=1e-4)
    assert found.ham_called_spam == pytest.approx(false / max(1, ham + false), abs=1e-4)
    assert found.spam_called_ham == pytest.approx(lost / max(1, lost + spam), abs=1e-4)
    assert 0 <= found.brier <= 1
    assert 0 <= found.calibration_error <= 1


@given(st.integers(0, 2**32))
def test_probabilities_that_are_true_have_little_calibration_error(seed):
    draw = np.random.default_rng(seed)
    said = draw.random(20_000)
    are = (draw.random(len(said)) < said).astype(float)
    assert spam_measures(said, are, 0.5).calibration_error < 0.02
    assert spam_measures(1 - said, are, 0.5).calibration_error > 0.4


def test_tables_are_markdown():
    found = spam_measures(np.array([0.1, 0.95]), np.array([0.0, 1.0]), 0.9)
    assert of_confusion(found.confusion).splitlines() == [
        "| is / called | ham | spam |",
        "| --- | ---: | ---: |",
        "| **ham** | 1 | 0 |",
        "| **spam** | 0 | 1 |",
    ]
    assert "accuracy 1.0000, ham called spam 0.0000" in of_spam(found)
    assert "| 0.9 | 1 | 0.950 | 1.000 |" in of_spam(found)
