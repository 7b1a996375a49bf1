"""Payloads held against the announced kinds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import KindUnknownError, PayloadError
from connectors.kinds import Kinds
from schemas.records import Kind
from schemas.tiers import Tier

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1},
        "list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"item": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def announced(schema=SCHEMA, name="k"):
    encoded = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    return Kind(kind=name, tier=Tier.LOW, service="s", payload_schema=encoded, result_schema=b"{}")


@pytest.fixture
def kinds():
    kinds = Kinds()
    kinds.put("k", announced())
    return kinds


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "payload.n"),
        ({"n": 0}, "payload.n"),
        ({"n": 1, "m": 2}, "payload.m"),
        ({"n": 1, "list": [{"a": "x"}, {}]}, "payload.list.1.a"),
        ({"n": 1, "list": [{"a": 5}]}, "payload.list.0.a"),
        ([], "payload"),
    ],
)
def test_what_does_not_fit_names_the_field(kinds, payload, field):
    with pytest.raises(PayloadError) as refused:
        kinds.check("k", payload)
    assert refused.value.field == field


@given(anything)
def test_any_payload_fits_or_is_refused_by_name(payload):
    kinds = Kinds()
    kinds.put("k", announced())
    try:
        kinds.check("k", payload)
    except PayloadError as error:
        assert error.field.startswith("payload")
        assert len(error.message) <= 301
    else:
        assert payload["n"] >= 1


def test_a_kind_comes_and_goes(kinds):
    kinds.check("k", {"n": 1})
    assert [kind.kind for kind in kinds.all().kinds] == ["k"]
    kinds.put("k", None)
    with pytest.raises(KindUnknownError, match="none yet"):
        kinds.find("k")


STRANGE = [
    b"{",
    b"5",
    b'{"properties":' * 3000 + b"{}" + b"}" * 3000,
    b'{"default":' + b"[" * 300 + b"]" * 300 + b"}",
    {"type": "nonsense"},
    {"$ref": "#"},
    {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}},
    {"$ref": "#/$defs/nowhere"},
    {"properties": {"a": {"items": {"$dynamicRef": "#nowhere"}}}},
    {"properties": {"a": {"$ref": "https://example.org/schema"}}},
    {"$id": "https://example.org/a", "$ref": "b"},
]


@pytest.mark.parametrize("schema", STRANGE)
def test_a_schema_that_is_none_disturbs_nothing(kinds, schema):
    kinds.put("bad", announced(schema, "bad"))
    with pytest.raises(KindUnknownError):
        kinds.find("bad")
    kinds.check("k", {"n": 1})


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, {"a": 1}),
        ({"properties": {"a": {"multipleOf": 0.1}}}, {"a": 10**400}),
    ],
)
def test_a_payload_that_can_not_be_held_against_its_schema_is_refused(kinds, schema, payload):
    kinds.put("odd", announced(schema, "odd"))
    kinds.check("odd", {})
    with pytest.raises(PayloadError) as refused:
        kinds.check("odd", payload)
    assert refused.value.field == "payload"


def test_a_schema_may_speak_of_itself(kinds):
    kinds.put("tree", announced({"properties": {"inner": {"$ref": "#"}}, "additionalProperties": False}, "tree"))
    kinds.check("tree", {"inner": {"inner": {}}})
    with pytest.raises(PayloadError):
        kinds.check("tree", {"inner": {"other": {}}})
