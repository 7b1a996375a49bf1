"""The fold of dead letters: any order, any repeats, the same state; and what a replay keeps."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.settings import Settings
from connectors import letter_views, showable
from connectors.errors import RequestError
from connectors.letter_state import LETTER_TTL, LetterStatus, fold_letter, letter_id
from connectors.letters import replay_of
from connectors.lists import Mark
from connectors.state import Place
from schemas.codec import CodecError
from schemas.errors import Problem
from schemas.records import Attempt, DeadLetter, Resolution, Resolved, Step, Task
from schemas.tiers import Tier
from schemas.topics import DEAD_LETTERS
from tests.schemas import strategies

PROBLEM = Problem("mail.broken", "the mail is none")
TASK = Task(
    id="t", key="k", kind="mail.classify", tier=Tier.BATCH, owner="ann", tenant="acme", root_id="r", parent_id="p",
    step=2, payload=b'{"raw": null}', created_at=1_000, start_by=2_000, deadline=3_000, attempt=5, conversation="c",
    history=[Attempt(attempt=4, at=1_500, code="mail.broken", message="so")], idempotency_key="i",
    then=[Step(kind="llm.chat", payload=b'{"prompt": "{{ result.text }}"}')], chain_deadline=9_000,
)  # fmt: skip
LETTER = DeadLetter(at=2_500, error=PROBLEM, task=TASK, history=TASK.history)


def place(offset):
    return Place("dead-letters", 0, offset)


def resolved(how, task_id=None, at=3_000):
    done = Resolved(letter_id="t", how=how, by="ann", at=at, task_id=task_id)
    return DeadLetter(at=at, error=PROBLEM, resolved=done)


def folded(records):
    state = None
    for record, at in records:
        state = fold_letter(state, "t", record, at)
    return state


@st.composite
def histories(draw):
    """Records of one letter at distinct places: repeats of it, replays of which some are the same, drops."""
    kinds = st.sampled_from(
        [LETTER, resolved(Resolution.DROPPED), *(resolved(Resolution.REPLAYED, f"replay {n}") for n in range(3))]
    )
    return [(record, place(offset)) for offset, record in enumerate(draw(st.lists(kinds, min_size=1, max_size=8)))]


@given(histories(), st.data())
def test_order_and_repeats_change_nothing(records, data):
    shuffled = data.draw(st.permutations(records + data.draw(st.lists(st.sampled_from(records)))))
    assert folded(shuffled) == folded(records)


@given(histories())
def test_the_first_record_is_the_letter_and_each_replay_counts_once(records):
    state = folded(records)
    letters = [at for record, at in records if record.task]
    assert (state.letter and state.letter.place) == min(letters, key=lambda at: at.offset, default=None)
    replays = [record.resolved.task_id for record, _ in records if record.resolved and record.resolved.task_id]
    assert [done.task_id for done in state.replays] == list(dict.fromkeys(replays))
    drops = [at.offset for record, at in records if record.resolved and record.resolved.how is Resolution.DROPPED]
    assert (state.dropped and state.dropped.place.offset) == min(drops, default=None)
    assert state.status == ("dropped" if drops else "replayed" if replays else "waiting")
    assert state.at == (2_500 if letters else 3_000)


def test_a_letters_id_is_its_tasks_or_its_key():
    assert letter_id(LETTER, b"k", place(0)) == "t"
    assert letter_id(resolved(Resolution.DROPPED), b"k", place(0)) == "t"
    unread = DeadLetter(at=1, error=PROBLEM, raw=b"?")
    assert letter_id(unread, b"of-the-place", place(0)) == "of-the-place"
    assert letter_id(unread, None, place(0)) == letter_id(unread, b"", place(0)) != letter_id(unread, None, place(1))


def test_a_letter_is_kept_as_long_as_its_topic_keeps_it():
    assert DEAD_LETTERS.retention == LETTER_TTL


def test_a_replay_is_a_new_first_attempt_that_points_to_the_letter():
    policy = Settings().tiers[Tier.BATCH]
    first = replay_of("t", TASK, 1, tier=Tier.BATCH, policy=policy, now=5_000)
    again = replay_of("t", TASK, 1, tier=Tier.BATCH, policy=policy, now=5_500)
    assert first.id == again.id != replay_of("t", TASK, 2, tier=Tier.BATCH, policy=policy, now=5_000).id
    assert (first.replay_of, first.root_id, first.parent_id, first.step) == ("t", first.id, None, 0)
    assert (first.attempt, first.history, first.idempotency_key) == (1, [], None)
    assert (first.created_at, first.start_by, first.deadline) == (5_000, 9_000, 9_000)
    for kept in ("key", "kind", "tier", "owner", "tenant", "payload", "conversation", "then", "chain_deadline"):
        assert getattr(first, kept) == getattr(TASK, kept)
    late = replay_of("t", TASK, 1, tier=Tier.BATCH, policy=policy, now=9_000)
    assert (late.chain_deadline, late.deadline) == (None, 9_000 + 3_600_000)


@given(strategies.of(DeadLetter), st.binary(max_size=8))
def test_whatever_the_projection_lets_pass_can_be_shown(record, key):
    if record.resolved is not None:
        return
    try:
        showable.check(record)
    except CodecError:
        assert record.task is not None
        return
    identity = letter_id(record, key, place(0))
    state = fold_letter(None, identity, record, place(0))
    shown = letter_views.whole(state, record)
    assert json.loads(shown.model_dump_json())["id"] == identity


def test_what_is_no_json_and_no_text_is_shown_all_the_same():
    for raw, field, value in ((b"no {", "raw", "no {"), (b"\xff", "raw_base64", "/w==")):
        for record in (
            DeadLetter(at=1, error=PROBLEM, raw=raw, topic="tasks.low", partition=1, offset=2),
            DeadLetter(at=1, error=PROBLEM, task=msgspec.structs.replace(TASK, payload=raw)),
        ):
            shown = letter_views.whole(fold_letter(None, "x", record, place(0)), record)
            assert (getattr(shown, field), shown.payload) == (value, None)
            assert (shown.source is None) == (record.task is not None)
            assert shown.status is LetterStatus.WAITING


@given(st.builds(Mark, st.integers(0, 2**53), st.text()))
def test_a_cursor_leads_back_to_its_mark(mark):
    assert Mark.read(mark.cursor()) == mark


@given(st.text(max_size=30))
def test_any_cursor_is_one_or_is_refused(cursor):
    try:
        Mark.read(cursor)
    except RequestError as error:
        assert error.field == "cursor"


def test_a_cursor_of_another_shape_is_refused():
    with pytest.raises(RequestError):
        Mark.read("kaFh")  # a list of one text
