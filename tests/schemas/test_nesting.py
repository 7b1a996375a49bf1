"""How many lists and objects a document holds that was sent, whatever its texts hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import nesting
from schemas.nesting import MOST_INNER, is_wide

JSON = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('[]{}"\\ ,a')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('[{"\\')), inner),
)


def inner(value) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(inner, value.values()))
    return 1 + sum(map(inner, value)) if isinstance(value, list) else 0


@given(JSON)
def test_lists_and_objects_are_counted_and_the_brackets_of_texts_are_not(value):
    with pytest.MonkeyPatch.context() as patch:
        for most in range(8):
            patch.setattr(nesting, "MOST_INNER", most)
            assert is_wide(json.dumps(value).encode()) == (inner(value) > most)


@pytest.mark.parametrize(
    "data",
    [b'{"a":[' + b"[]," * MOST_INNER, b"[" * (MOST_INNER + 1), b"{" * (MOST_INNER + 1) + b'"' + b'\\"' * 10**7],
)
def test_what_is_no_json_is_counted_too_in_time_that_grows_with_its_length(data):
    assert is_wide(data)


@pytest.mark.parametrize("data", [b'"' + b'\\"[' * 10**7, b'"' + b"[{" * MOST_INNER + b'"', b'["\\'])
def test_a_text_that_does_not_end_has_no_lists(data):
    assert not is_wide(data)
