"""Answers that keep to a schema: whatever the model likes, what it says parses and is valid; and nothing is hung by one."""

from __future__ import annotations

import json
import re
import time

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_worker.choosing import Guides
from inference_worker.constraints import Constraints
from inference_worker.errors import ConstraintError
from inference_worker.options import JsonObject, JsonSchema, Regex, Sampling
from inference_worker.sequence import Sequence
from inference_worker.text import Detokenizer, TextStream
from schemas.records import FinishReason
from tests.inference_worker.spelling import end, tokenizer, vocabulary

CONSTRAINTS = Constraints(vocabulary())
RECORD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def schema(document: dict) -> JsonSchema:
    return JsonSchema(type="json_schema", json_schema={"schema": document})


def request(wanted, limit: int = 600, seed: int = 0, **options) -> Sequence:
    how = Sampling(temperature=1, top_p=1, max_tokens=limit, **options)
    guides = Guides(constraint=CONSTRAINTS.compile(wanted))
    text = TextStream(Detokenizer(tokenizer()), how.stop)
    return Sequence(
        id="t", prompt=[1], how=how, seed=seed, limit=limit, rank=1, deadline=10**6, text=text, guides=guides
    )


def _random(index: int, noise: int) -> np.ndarray:
    """A model that likes anything, the same at the same index; it has more scores than there are tokens, as some have."""
    rng = np.random.default_rng([noise, index])
    return (rng.standard_normal(vocabulary().index.vocab_size + 4) * 4).astype(np.float32)


def said(sequence: Sequence, noise: int) -> str:
    """Let it say all it has to say, from where it stands."""
    text = ""
    while True:
        output = sequence.take(_random(len(sequence.answer), noise), [end()])
        text += output.text + output.tail
        if output.finish:
            return text


_names = st.text("abcxyz", min_size=1, max_size=4)
_leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, n: {"type": "integer", "minimum": low, "maximum": low + n}, st.integers(-99, 99), st.integers(0, 99)
    ),
    st.builds(
        lambda low, n: {"type": "number", "minimum": low, "maximum": low + n}, st.integers(-9, 9), st.integers(1, 9)
    ),
    st.builds(
        lambda low, n: {"type": "string", "minLength": low, "maxLength": low + n}, st.integers(0, 3), st.integers(0, 5)
    ),
    st.builds(lambda one: {"type": "string", "pattern": f"^{one}[0-9]{{2,3}}$"}, _names),
    st.builds(
        lambda some: {"enum": some}, st.lists(st.one_of(_names, st.integers(-5, 5), st.none()), min_size=1, max_size=3)
    ),
    st.builds(lambda one: {"const": one}, st.one_of(_names, st.booleans())),
)


def _grown(inner: st.SearchStrategy[dict]) -> st.SearchStrategy[dict]:
    objects = st.builds(
        lambda properties, required: {
            "type": "object",
            "properties": properties,
            "required": sorted(name for name in properties if name in required),
            "additionalProperties": False,
        },
        st.dictionaries(_names, inner, max_size=3),
        st.sets(_names, max_size=3),
    )
    arrays = st.builds(
        lambda items, low, n: {"type": "array", "items": items, "minItems": low, "maxItems": low + n},
        inner, st.integers(0, 2), st.integers(0, 2),
    )  # fmt: skip
    return st.one_of(objects, arrays, st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)))


schemas = st.recursive(_leaves, _grown, max_leaves=6)


@given(schemas, st.integers(0, 1000))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_model_of_random_likings_says_is_valid(document, noise):
    sequence = request(schema(document))
    answer = said(sequence, noise)
    if sequence.ended is FinishReason.STOP:
        jsonschema.validate(json.loads(answer), document)
    else:
        assert len(sequence.answer) == 600


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_a_schema_without_room_for_rambling_is_always_finished(noise):
    sequence = request(schema(RECORD))
    jsonschema.validate(json.loads(said(sequence, noise)), RECORD)
    assert sequence.ended is FinishReason.STOP


def test_json_objects_and_expressions():
    for noise in range(5):
        assert json.loads(said(request(JsonObject(type="json_object"), 3000), noise)) is not None
        assert re.fullmatch(r"[a-f]{3}-\d+", said(request(Regex(type="regex", regex=r"[a-f]{3}-[0-9]{1,4}")), noise))


@given(st.integers(0, 1000), st.data())
@settings(deadline=None, max_examples=25)
def test_whoever_goes_on_says_the_same(noise, data):
    whole = request(schema(RECORD), seed=noise)
    answer = said(whole, noise)
    cut = data.draw(st.integers(0, len(whole.answer)))
    other = request(schema(RECORD), seed=noise)
    other.replay(whole.answer[:cut])
    if other.ended is None:
        said(other, noise)
    assert other.answer == whole.answer
    assert other.ended is whole.ended
    assert json.loads(answer)


def test_an_answer_that_is_cut_ends_for_its_length_or_its_stop():
    for noise in range(5):
        cut = request(schema(RECORD), 4)
        text = said(cut, noise)
        assert cut.ended is FinishReason.LENGTH
        assert text.startswith("{")
        stopped = request(schema(RECORD), stop=[":"])
        assert ":" not in said(stopped, noise)
        assert stopped.ended is FinishReason.STOP


def test_what_can_not_have_been_said_ends_the_answer_with_a_reason():
    # As when another release of the library, by which the prefix was made, allowed more.
    sequence = request(schema(RECORD))
    sequence.replay(tokenizer().encode("[").ids)
    assert sequence.ended is FinishReason.ERROR
    assert sequence.failure.code == "llm.constraint"


def test_the_same_schema_is_compiled_once():
    constraints = Constraints(vocabulary())
    assert constraints.compile(schema(RECORD)) is constraints.compile(schema(dict(RECORD)))
    assert constraints.compile(schema(RECORD)) is not constraints.compile(JsonObject(type="json_object"))
    assert constraints.compile(None) is None


_NESTED: dict = {}
for _ in range(300):
    _NESTED = {"type": "array", "items": _NESTED}

HOSTILE = {
    "unknown type": {"type": "strin"},
    "unsupported": {"not": {}},
    "remote": {"$ref": "http://127.0.0.1:9/schema.json"},
    "file": {"$ref": "file:///etc/hostname"},
    "nothing is valid": {"type": "string", "enum": []},
    "endless": {"$ref": "#"},
    "many properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(1900)}},
    "products of choices": {
        "allOf": [{"anyOf": [{"properties": {f"{i}{j}": {}}} for j in range(4)]} for i in range(12)]
    },
    "nested": _NESTED,
    "lenient": {"type": "object", "not": {}, "x-guidance": {"lenient": True}},
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_schema_is_an_error_that_names_the_field(document):
    before = time.process_time()
    with pytest.raises(ConstraintError) as caught:
        CONSTRAINTS.compile(schema(document))
    assert caught.value.field == "payload.response_format.json_schema.schema"
    assert len(caught.value.message) < 400
    assert time.process_time() - before < 30  # a bound on work, far above what it takes: a hang has none


@pytest.mark.parametrize("regex", ["([0-9", "(?=a)b", r"[^\s\S]", "(" * 9_000])
def test_a_hostile_expression_likewise(regex):
    with pytest.raises(ConstraintError) as caught:
        CONSTRAINTS.compile(Regex(type="regex", regex=regex))
    assert caught.value.field == "payload.response_format.regex"


def test_what_becomes_too_much_work_on_the_way_ends_that_answer_alone():
    sequence = request(schema({"type": "string", "pattern": "^((a{1000}){1000}){1000}$"}))
    said(sequence, 0)
    assert sequence.ended is FinishReason.ERROR
    assert (sequence.failure.code, sequence.failure.field) == ("llm.constraint", "payload.response_format")
