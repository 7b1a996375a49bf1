"""The partition of a key is the same for every client."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backbone.ids import derived_id, new_id
from backbone.kafka import partition_of

# What Java's DefaultPartitioner gives, from Apache Kafka's own UtilsTest.testMurmur2.
JAVA_MURMUR2 = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}


def test_agrees_with_java():
    for key, murmur in JAVA_MURMUR2.items():
        assert partition_of(key, 16) == (murmur & 0x7FFFFFFF) % 16


@given(key=st.text(), partitions=st.integers(1, 1024))
def test_is_a_partition(key, partitions):
    assert 0 <= partition_of(key, partitions) < partitions


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_derived_ids_are_equal_only_for_equal_parts(left, right):
    assert (derived_id(*left) == derived_id(*right)) == (left == right)


def test_new_ids_sort_by_time():
    ids = [new_id() for _ in range(100)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
