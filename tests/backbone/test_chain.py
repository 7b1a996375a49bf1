"""Pure: from a task that succeeded to the next step of its chain."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given

from backbone import chain, outcome
from backbone.errors import StepError
from backbone.settings import TierTable
from backbone.stamp import stamp
from schemas import topics
from schemas.nesting import MOST_NESTED
from schemas.records import DeadLetter, Status, Step, Task
from schemas.tiers import Tier
from tests.schemas.strategies import documents

TABLE = TierTable()
NOW = 1_800_000_000_000
PAGE = {"text": "Open at seven.", "links": ["/a", "/b"], "status": 200, "data": {"a b": None}}


def task(*steps: Step, **fields) -> Task:
    bare = Task(kind="web.scrape", then=list(steps), owner="ada", tenant="acme", **fields)
    return stamp(bare, task_id="t1", tier=Tier.BATCH, policy=TABLE.batch, now=NOW - 5000)


def succeed(what: Task, result=PAGE, largest=512 * 1024) -> outcome.Outcome:
    return outcome.succeeded(what, json.dumps(result).encode(), tiers=TABLE, largest=largest, now=NOW, worker="w")


def fill(payload, result=PAGE):
    return json.loads(chain.fill(json.dumps(payload).encode(), json.dumps(result).encode(), 10_000, kind="cron.parse"))


class TestLookUp:
    @pytest.mark.parametrize(
        ("written", "found"),
        [
            ("{{ result.text }}", "Open at seven."),
            ("Sum up: {{result.text}} ({{ result.status }})", "Sum up: Open at seven. (200)"),
            ("{{ result.links.1 }}", "/b"),
            ("{{ result.links }}", ["/a", "/b"]),
            ("links: {{ result.links }}", 'links: ["/a","/b"]'),
            ("{{ result.status }}", 200),
            ("{{ result }}", PAGE),
            ("no look-up { } {{", "no look-up { } {{"),
        ],
    )
    def test_finds_what_the_path_says(self, written, found):
        assert fill({"x": [written]}) == {"x": [found]}

    @pytest.mark.parametrize(
        "path",
        [
            *(
                "result.texts",
                "result.links.2",
                "result.links.-1",
                "result.text.0",
                "result.status.x",
                "result.links.a",
            ),
            f"result.links.{'1' * 5000}",
        ],
    )
    def test_nothing_there_names_the_field(self, path):
        with pytest.raises(StepError) as caught:
            fill({"a": {"b": [f"{{{{ {path} }}}}"]}})
        assert caught.value.field == "payload.a.b.0"

    @pytest.mark.parametrize("text", ["{{ }}", "{{ resul.x }}", "{{ result.a b }}", "{{ result..a }}", "{{ 7*7 }}"])
    def test_what_is_no_look_up_is_refused_before_it_runs(self, text):
        with pytest.raises(StepError) as caught:
            chain.check(json.dumps({"x": text}).encode(), "then.0.payload", kind="cron.parse")
        assert caught.value.field == "then.0.payload.x"

    def test_a_string_of_blanks_is_read_in_no_time(self):
        payload = json.dumps({"x": "{{" + " " * 200_000}).encode()
        chain.check(payload, "payload", kind="cron.parse")  # it took hours
        assert not chain.looks_up(payload)

    @pytest.mark.parametrize("text", ["{{ result.text }} ", "{{ result.text }}"])
    def test_what_grows_over_what_a_record_may_hold_is_refused_before_it_is_made(self, text, monkeypatch):
        grown = []
        encode = msgspec.json.encode
        monkeypatch.setattr(chain.msgspec.json, "encode", lambda value: grown.append(encode(value)) or grown[-1])
        with pytest.raises(StepError) as caught:
            fill({"x": [text * 5, *[text] * 1000]}, {"text": "x" * 3000})
        assert (caught.value.field, sum(map(len, grown)) < 20_000) == ("payload.x.0", True)

    def test_what_just_fits_is_filled(self):
        payload, result = b'{"x":"{{ result }}{{ result }}"}', json.dumps("y" * 46).encode()
        assert len(chain.fill(payload, result, 100, kind="cron.parse")) == 100
        with pytest.raises(StepError):
            chain.fill(payload, result, 99, kind="cron.parse")

    @given(documents, documents)
    def test_a_value_is_never_looked_into_for_look_ups(self, value, other):
        """What a page says can't make the next step look up anything: one pass, over what the author wrote."""
        hostile = {"text": "{{ result.secret }}", "secret": other, "value": value}
        assert fill({"x": "{{ result.text }}", "y": "{{ result.value }}"}, hostile) == {
            "x": "{{ result.secret }}", "y": value,
        }  # fmt: skip


class TestNextStep:
    STEP = Step(kind="llm.complete", tier=Tier.URGENT, payload=b'{"prompt":"Sum up: {{ result.text }}"}')

    def test_success_makes_it_in_its_own_tier(self):
        first = task(self.STEP, Step(kind="cron.parse"))
        end, made = (out for out in succeed(first).records)
        following = made.record
        assert end.record.next_id == following.id == chain.next_id(first)
        assert made.topic is topics.INFERENCE[Tier.URGENT]
        assert json.loads(following.payload) == {
            "prompt": [
                {"type": "text", "text": "Sum up: "},
                {"type": "data", "source": "result.text", "text": "Open at seven."},
            ]
        }
        assert (following.key, following.root_id, following.parent_id, following.step) == ("t1", "t1", "t1", 1)
        assert (following.owner, following.tenant, following.then) == ("ada", "acme", [Step(kind="cron.parse")])
        assert (following.created_at, following.start_by - NOW) == (NOW, 2000)

    def test_a_step_that_names_no_tier_stays_in_the_one_before(self):
        _, made = succeed(task(Step(kind="cron.parse"))).records
        assert made.topic is topics.TASKS[Tier.BATCH]

    def test_a_chain_s_own_end_bounds_each_step(self):
        _, made = succeed(task(self.STEP, chain_deadline=NOW + 1000)).records
        assert (made.record.start_by, made.record.deadline, made.record.chain_deadline) == (NOW + 1000,) * 3

    def test_a_repeat_makes_the_same_step(self):
        assert succeed(task(self.STEP)) == succeed(task(self.STEP))

    @pytest.mark.parametrize(("result", "largest"), [({"no": "text"}, 10_000), ({"text": "x" * 99}, 50)])
    def test_a_step_that_can_t_be_made_ends_the_chain_as_its_own_failure(self, result, largest):
        end, letter, failed = (out.record for out in succeed(task(self.STEP), result, largest).records)
        assert (end.status, end.next_id) == (Status.SUCCEEDED, failed.task_id)
        assert isinstance(letter, DeadLetter)
        assert (failed.status, failed.step, failed.root_id) == (Status.FAILED, 1, "t1")
        assert failed.error.code == "step.invalid"
        assert failed.error.field.startswith("payload")

    def test_a_step_may_not_nest_deeper_than_anybody_reads(self):
        deep = json.loads("[" * MOST_NESTED + "]" * MOST_NESTED)
        _, _, failed = (
            out.record for out in succeed(task(Step(kind="a", payload=b'{"x":"{{ result }}"}')), deep).records
        )
        assert (failed.error.code, failed.error.field) == ("step.invalid", "payload")

    def test_without_steps_success_is_the_end(self):
        (end,) = succeed(task()).records
        assert end.record.next_id is None


def test_the_last_step_of_a_walk_through_four_tiers_has_come_all_the_way():
    current = task(*(Step(kind="cron.parse", tier=tier, payload=b'{"n":"{{ result.n }}"}') for tier in Tier))
    walked = []
    while True:
        _, *rest = succeed(current, {"n": len(walked)}).records
        if not rest:
            break
        current = rest[0].record
        walked.append((current.tier, current.step, current.root_id, json.loads(current.payload)["n"]))
    assert walked == [(tier, place + 1, "t1", place) for place, tier in enumerate(Tier)]
    assert msgspec.structs.asdict(current)["then"] == []
