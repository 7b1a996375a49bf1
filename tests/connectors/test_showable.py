"""Records that can be shown, and those that are passed over."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import showable, views
from schemas.codec import CodecError
from schemas.nesting import MOST_NESTED
from schemas.records import Fire, FireOutcome, Status, Task, TaskEvent, Template, Timer
from schemas.tiers import Tier

EVENT = TaskEvent(
    task_id="t", key="k", kind="a.b", tier=Tier.LOW, owner="ann", tenant="ann", root_id="t", status=Status.SUCCEEDED,
    attempt=1, at=0, worker="w", result=b"{}",
)  # fmt: skip
TIMER = Timer(id="x", owner="ann", tenant="ann", template=Template(task=Task(kind="a.b")), created_at=0, every=1)


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (msgspec.structs.replace(EVENT, at=10**17), "at"),
        (msgspec.structs.replace(EVENT, at=-(10**17)), "at"),
        (msgspec.structs.replace(EVENT, at=10**400), "at"),
        (msgspec.structs.replace(EVENT, result=b""), "result"),
        (msgspec.structs.replace(EVENT, result=b"\xff"), "result"),
        (msgspec.structs.replace(EVENT, result=b"NaN"), "result"),
        (msgspec.structs.replace(EVENT, result=b'"\\ud800"'), "result"),
        (msgspec.structs.replace(EVENT, result=b"[" * 300 + b"]" * 300), "result"),
        (msgspec.structs.replace(EVENT, result=b"[" * 100_000 + b"]" * 100_000), "result"),
        (Task(kind="a.b", deadline=10**17), "deadline"),
        (msgspec.structs.replace(TIMER, at=10**17), "at"),
        (msgspec.structs.replace(TIMER, template=Template(task=Task(kind="a", payload=b"{"))), "template.task.payload"),
        (Fire(timer_id="x", slot=0, to_slot=10**17, outcome=FireOutcome.SKIPPED, at=0), "to_slot"),
    ],
)
def test_what_can_not_be_shown_names_its_field(record, field):
    with pytest.raises(CodecError) as refused:
        showable.check(record)
    assert refused.value.field == field


@pytest.mark.parametrize("record", [EVENT, TIMER, msgspec.structs.replace(EVENT, result=None), Task(kind="a.b")])
def test_plain_records_are_shown(record):
    showable.check(record)


@given(st.integers() | st.sampled_from([-62135596800001, -62135596800000, 253402300799999, 253402300800000]))
def test_a_time_is_one_that_can_be_written(ms):
    if showable.is_time(ms):
        assert views.iso(ms).endswith("Z")
    else:
        assert views.instant(ms) is None


@pytest.mark.parametrize("deep", [1, MOST_NESTED, MOST_NESTED + 1])
@pytest.mark.parametrize("wide", [1, 3])
def test_only_depth_counts(deep, wide):
    document = json.loads("[" * deep + "]" * deep)
    for _ in range(MOST_NESTED):
        document.append({})
    data = json.dumps([document] * wide if deep < MOST_NESTED else document).encode()
    if deep <= MOST_NESTED:
        assert showable.read_document(data)
    else:
        with pytest.raises(ValueError, match="too deeply"):
            showable.read_document(data)
