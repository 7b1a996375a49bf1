from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from streams.errors import HeadError, PayloadError
from streams.mail.head import (
    FAR,
    MAX_CORRECTIONS,
    MAX_LABELS,
    STRENGTH,
    WIDTH,
    Correction,
    OwnerHead,
)
from streams.mail.labels import CATEGORIES, URGENCIES


def vector(seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=WIDTH)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def at(cosine: float, base: np.ndarray, seed: int = 99) -> np.ndarray:
    """A unit vector with just that cosine to `base`, which is of another seed."""
    other = vector(seed)
    other -= (other @ base) * base
    other /= np.linalg.norm(other)
    return (cosine * base + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def logits(head: OwnerHead, where: np.ndarray, names=CATEGORIES) -> dict[str, float]:
    return dict(zip(names, head.category_logits(where[None], names)[0].tolist(), strict=True))


def test_what_was_never_taught_changes_nothing():
    head = OwnerHead()
    assert not head.category_logits(vector()[None], CATEGORIES).any()
    assert not head.urgency_logits(vector()[None]).any()
    assert not head.spam_logits(vector()[None]).any()


def test_one_correction_turns_its_mail_and_those_like_it_at_once():
    head = OwnerHead().taught(vector(), Correction(category="work", urgency="high", spam=False))
    for where in (vector(), at(0.93, vector())):
        assert logits(head, where)["work"] > 5
        assert head.urgency_logits(where[None])[0].argmax() == URGENCIES.index("high")
        assert head.spam_logits(where[None])[0] < -5


def test_it_leaves_far_mails_as_they_were():
    head = OwnerHead().taught(vector(), Correction(category="work", spam=True))
    far = at(FAR - 0.01, vector())
    assert not any(logits(head, far).values())
    assert not head.spam_logits(far[None]).any()


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(CATEGORIES)), max_size=30), st.integers(1, 6))
def test_no_number_of_corrections_swings_a_label_further_than_is_said(corrections, seed):
    head = OwnerHead()
    for place, category in corrections:
        head = head.taught(at(0.95, vector(), place), Correction(category=category))
    told = logits(head, at(0.95, vector(), seed))
    assert all(0 <= logit <= STRENGTH for logit in told.values())
    assert sum(told.values()) <= STRENGTH + 1e-3


def test_the_same_mail_corrected_again_takes_the_correction_s_place_and_keeps_what_was_not_said_again():
    head = OwnerHead().taught(vector(), Correction(category="work", urgency="low"))
    head = head.taught(vector(), Correction(category="travel"))
    assert (len(head), head.names) == (1, ("travel",))
    assert head.urgency_logits(vector()[None])[0].argmax() == URGENCIES.index("low")


def test_the_oldest_corrections_are_forgotten():
    head = OwnerHead()
    many = np.random.default_rng(0).normal(size=(MAX_CORRECTIONS, WIDTH)).astype(np.float16)
    many /= np.linalg.norm(many.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    codes = np.zeros(MAX_CORRECTIONS, np.int16)
    head = OwnerHead(("work",), many, codes, codes - 1, codes - 1)
    head = head.taught(vector(), Correction(category="travel"))
    assert len(head) == MAX_CORRECTIONS
    np.testing.assert_array_equal(head.vectors[0], many[1])
    assert logits(head, vector())["travel"] > 5


def test_a_label_that_is_not_asked_for_is_not_given():
    head = OwnerHead().taught(vector(), Correction(category="garden"))
    assert not any(logits(head, vector()).values())
    assert logits(head, vector(), ("money", "garden"))["garden"] > 5


@pytest.mark.parametrize(
    ("correction", "field"),
    [
        (Correction(), "category"),
        (Correction(category=""), "category"),
        (Correction(category="x" * 101), "category"),
        (Correction(urgency="soon"), "urgency"),
    ],
)
def test_a_correction_that_says_nothing_or_nonsense_is_refused(correction, field):
    with pytest.raises(PayloadError) as refused:
        OwnerHead().taught(vector(), correction)
    assert refused.value.field == field


def test_categories_are_bounded():
    head = OwnerHead()
    for number in range(MAX_LABELS):
        head = head.taught(vector(number), Correction(category=f"label {number}"))
    with pytest.raises(PayloadError, match=str(MAX_LABELS)):
        head.taught(vector(-1 & 0xFFFF), Correction(category="one more"))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from([*CATEGORIES, "garden", None]),
            st.sampled_from([*URGENCIES, None]),
            st.sampled_from([True, False]),
        ),
        max_size=12,
    )
)
def test_bytes_bring_the_same_head_back(corrections):
    head = OwnerHead()
    for seed, category, urgency, spam in corrections:
        head = head.taught(vector(seed), Correction(category, urgency, spam))
    again = OwnerHead.from_bytes(head.to_bytes())
    assert again.names == head.names
    for name in ("vectors", "categories", "urgencies", "spam"):
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))
    assert again.to_bytes() == head.to_bytes()


GOOD = {
    "vectors": vector().astype(np.float16)[None],
    "categories": np.zeros(1, np.int16),
    "urgencies": np.full(1, -1, np.int16),
    "spam": np.full(1, -1, np.int16),
}
META = {"format": "barnabas.mail.head", "version": "1", "names": json.dumps(["work"])}


def test_the_example_that_is_damaged_below_is_good():
    assert len(OwnerHead.from_bytes(save(GOOD, META))) == 1


@pytest.mark.parametrize(
    ("tensors", "metadata", "match"),
    [
        ({}, {"version": "2"}, "version 1"),
        ({}, {"names": "work"}, "names"),
        ({}, {"names": json.dumps(["work", "work"])}, "names"),
        ({}, {"names": json.dumps([7])}, "names"),
        ({}, {"names": "[" * 100_000}, "names"),
        ({"vectors": np.zeros((1, 5), np.float16)}, {}, "vectors"),
        ({"vectors": GOOD["vectors"].astype(np.float32)}, {}, "vectors"),
        ({"vectors": GOOD["vectors"] * np.float16(2)}, {}, "unit length"),
        ({"vectors": GOOD["vectors"] * np.float16("nan")}, {}, "unit length"),
        ({"categories": np.array([1], np.int16)}, {}, "categories"),
        ({"categories": np.array([-2], np.int16)}, {}, "categories"),
        ({"urgencies": np.array([3], np.int16)}, {}, "urgencies"),
        ({"spam": np.array([2], np.int16)}, {}, "spam"),
        ({"spam": np.array([0, 1], np.int16)}, {}, "expected"),
        ({"spam": np.array(1, np.int16)}, {}, "expected"),
        ({name: np.repeat(array, MAX_CORRECTIONS + 1, 0) for name, array in GOOD.items()}, {}, "at most"),
    ],
)
def test_what_is_damaged_or_made_to_hurt_is_a_typed_error(tensors, metadata, match):
    with pytest.raises(HeadError, match=match):
        OwnerHead.from_bytes(save(GOOD | tensors, META | metadata))


@given(st.binary(max_size=200) | st.integers(0, 2000).map(lambda end: save(GOOD, META)[:end]))
def test_any_bytes_are_a_head_or_a_typed_error(data):
    try:
        assert len(OwnerHead.from_bytes(data)) <= MAX_CORRECTIONS
    except HeadError as error:
        assert error.message
