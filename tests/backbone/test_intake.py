"""What a client produced straight to a task topic, as everyone reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.ids import derived_id
from backbone.intake import LARGEST, TIER_OF, read_task, task_or_letter
from backbone.settings import Settings
from schemas import codec, topics
from schemas.records import LAST_MS, Task
from schemas.tiers import Tier

SETTINGS = Settings(topic_prefix="b.")
JSON = [(codec.CONTENT_TYPE, codec.JSON)]


def read(value, *, topic="b.tasks.urgent", key=None, headers=JSON, offset=7):
    return read_task(SETTINGS, topic, 3, offset, 1_000, key, value, headers)


def test_the_least_that_a_client_may_produce_becomes_a_whole_task():
    task = read(b'{"kind": "cron.parse", "payload": {"expression": "* * * * *"}}')
    identity = derived_id("b.tasks.urgent", 3, 7)
    assert task.id == task.key == task.root_id == identity
    assert (task.tier, task.owner, task.tenant, task.attempt) == (Tier.URGENT, "direct", "direct", 1)
    assert (task.created_at, task.start_by, task.deadline) == (1_000, 3_000, 61_000)
    assert task.payload == b'{"expression":"* * * * *"}'


def test_the_same_message_is_always_the_same_task_and_another_is_another():
    value = b'{"kind": "cron.parse"}'
    assert read(value) == read(value)
    assert read(value).id != read(value, offset=8).id
    assert read(value).id != read(value, topic="b.tasks.low").id


def test_the_tier_is_the_topics_whatever_the_message_says():
    assert read(b'{"kind": "llm.chat", "tier": "low"}', topic="b.inference.batch").tier is Tier.BATCH
    assert set(TIER_OF.values()) == set(Tier)
    assert len(TIER_OF) == 8


def test_the_key_is_the_tasks_else_the_messages():
    assert read(b'{"kind": "k", "key": "own"}', key=b"message").key == "own"
    assert read(b'{"kind": "k"}', key=b"message").key == "message"


def test_a_stamped_task_is_not_changed():
    stamped = read(b'{"kind": "k", "id": "x", "owner": "ann", "tenant": "acme"}')
    again = read(codec.encode(stamped), headers=[(codec.CONTENT_TYPE, codec.AVRO)], offset=99)
    assert again == stamped


@pytest.mark.parametrize(
    ("value", "key", "field"),
    [
        (b'{"payload": {}}', None, "value"),
        (b'{"kind": 5}', None, "kind"),
        (b'{"kind": "k", "attempt": "x"}', None, "attempt"),
        (None, None, "value"),
        (b'{"kind": "k"}', b"\xff", "key"),
        (b'{"kind": "k", "id": "' + b"x" * LARGEST + b'"}', None, "value"),
        (b'{"kind": "k", "payload": [' + b"1e15," * 60_000 + b"0]}", None, "payload"),
    ],
)
def test_what_is_no_task_names_the_field(value, key, field):
    with pytest.raises(codec.CodecError) as refused:
        read(value, key=key)
    assert refused.value.field == field


@given(st.binary(max_size=200), st.sampled_from([JSON, None]))
def test_any_bytes_are_a_whole_task_or_a_typed_error(value, headers):
    try:
        task = read(value, headers=headers)
    except codec.CodecError:
        return
    assert isinstance(task, Task)
    assert task.id
    assert task.key
    assert task.tier


def test_a_message_is_a_task_or_the_dead_letter_that_follows_from_it():
    place = (SETTINGS, "b.tasks.urgent", 3, 7, 1_000, b"k")
    assert task_or_letter(*place, b'{"kind": "k"}', JSON, now=5) == read(b'{"kind": "k"}', key=b"k")
    letter = task_or_letter(*place, b"{nonsense", JSON, now=5)
    assert letter.topic is topics.DEAD_LETTERS
    assert letter.key == derived_id("b.tasks.urgent", 3, 7)
    assert (letter.record.raw, letter.record.offset, letter.record.at) == (b"{nonsense", 7, 5)


@pytest.mark.parametrize("size", [LARGEST, LARGEST + 1, 2**20])
def test_the_letter_of_what_is_too_large_is_not_too_large_itself(size):
    letter = task_or_letter(SETTINGS, "b.tasks.urgent", 3, 7, 1_000, b"k", b"\x01" * size, None, now=5)
    assert letter.record.raw == b"\x01" * LARGEST
    assert len(codec.encode(letter.record)) < 1_000_000


def test_times_end_with_the_last_year_that_there_is():
    task = read(b'{"kind": "k", "created_at": %d}' % LAST_MS)
    assert (task.start_by, task.deadline) == (LAST_MS, LAST_MS)


def test_a_newer_writers_message_is_neither():
    with pytest.raises(codec.UnknownSchemaError):
        task_or_letter(SETTINGS, "b.tasks.urgent", 3, 7, 1_000, None, b"\x00\x00\x00\x7f\xffx", None, now=5)
