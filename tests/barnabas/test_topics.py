from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from barnabas.topics import lag

offsets = st.integers(0, 1000)


def test_lag_is_what_a_group_has_yet_to_commit() -> None:
    end = {("t", 0): 10, ("t", 1): 5, ("t", 2): 7}
    begin = {("t", 0): 0, ("t", 1): 3, ("t", 2): 0}
    # Partition 1: what was deleted before the group came to it is not counted. Partition 2: it has committed nothing.
    assert lag(end, begin, {("t", 0): 4, ("t", 1): 0}) == 6 + 2


def test_a_topic_that_was_made_anew_does_not_count_backwards() -> None:
    assert lag({("t", 0): 2}, {("t", 0): 0}, {("t", 0): 9, ("gone", 0): 1}) == 0


@given(begin=offsets, kept=offsets, committed=st.integers(0, 3000))
def test_lag_is_never_more_than_is_there(begin: int, kept: int, committed: int) -> None:
    found = lag({("t", 0): begin + kept}, {("t", 0): begin}, {("t", 0): committed})
    assert 0 <= found <= kept
