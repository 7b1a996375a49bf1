"""Nothing that has not ended is ever committed past."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.offsets import Offsets


@given(st.lists(st.integers(1, 3), max_size=40), st.data())
def test_all_before_the_committed_offset_has_ended(gaps, data):
    offsets, at, opened, committed = Offsets(), 0, [], 0
    for gap in gaps:
        at += gap
        assert offsets.take(at)
        assert not offsets.take(at)
        opened.append(at)
        for one in data.draw(st.lists(st.sampled_from(opened), max_size=3, unique=True)) if opened else []:
            offsets.done(one)
            opened.remove(one)
        assert offsets.committable == (min(opened) if opened else at + 1)
        assert offsets.committable >= committed
        committed = offsets.committable
        assert len(offsets) == (at - min(opened) + 1 if opened else 0)


def test_before_anything_is_taken_nothing_is_committed():
    assert Offsets().committable is None
    assert len(Offsets()) == 0
