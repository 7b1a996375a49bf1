"""Hypothesis strategies for every record, built from the records' own types."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from schemas import errors, records

text = st.text(st.characters(codec="utf-8"), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
json_bytes = json_values.map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
ints = {"int": st.integers(-(2**31), 2**31 - 1), "long": st.integers(-(2**63), 2**63 - 1)}

_LONG = {
    "at", "created_at", "start_by", "deadline", "claim", "slot", "to_slot", "last_slot", "offset", "every", "jitter",
    "max_late", "late_by", "seed", "revision", "seq",
}  # fmt: skip


def of(record: type) -> st.SearchStrategy:
    """Return a strategy for a record type."""
    import typing

    hints = typing.get_type_hints(record, include_extras=True)
    return st.builds(record, **{name: _field(name, hint) for name, hint in hints.items() if not name.startswith("__")})


def _field(name: str, hint: object) -> st.SearchStrategy:
    import enum
    import types
    import typing

    import msgspec

    origin = typing.get_origin(hint)
    if hint is records.Json:
        return json_bytes
    if origin in (typing.Union, types.UnionType):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return st.none() | _field(name, inner)
    if origin is list:
        return st.lists(_field(name, typing.get_args(hint)[0]), max_size=2)
    if hint is str:
        return text
    if hint is bytes:
        return st.binary(max_size=20)
    if hint is bool:
        return st.booleans()
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if hint is int:
        return ints["long" if name in _LONG else "int"]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return of(hint)
    raise TypeError(f"{name}: {hint}")


