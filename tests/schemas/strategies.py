"""Hypothesis strategies for every record, built from the records' own types and their bounds."""

from __future__ import annotations

import enum
import json
import types
import typing
from functools import cache

from hypothesis import strategies as st

from schemas import records

if typing.TYPE_CHECKING:
    import msgspec

_text = st.text(st.characters(codec="utf-8"), max_size=12)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
"""JSON documents as Python values."""

_SIMPLE = {
    records.Json: documents.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()),
    str: _text,
    bytes: st.binary(max_size=20),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
}


@cache
def of(record: type[msgspec.Struct]) -> st.SearchStrategy:
    """Return a strategy for a record type."""
    hints = typing.get_type_hints(record, include_extras=True)
    return st.builds(record, **{name: _field(hints[name]) for name in record.__struct_fields__})


def _field(hint: typing.Any) -> st.SearchStrategy:
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if typing.get_origin(hint) is typing.Annotated:
        bounds = hint.__metadata__[0]
        return st.integers(bounds.ge, bounds.le)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return st.none() | _field(typing.get_args(hint)[0])
    if typing.get_origin(hint) is list:
        return st.lists(_field(typing.get_args(hint)[0]), max_size=2)
    return st.sampled_from(hint) if issubclass(hint, enum.Enum) else of(hint)
