"""Records to bytes and back: Avro in the Confluent wire format, or JSON where a header says so.

Confluent wire format: a zero byte, the schema id as four bytes big-endian, the Avro body. A record with the header
`content-type: application/json` is JSON of the same shape, so that any client can produce one.
"""

from __future__ import annotations

import io
import json
import struct
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import fastavro
import msgspec

from schemas import records
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Iterable

R = TypeVar("R", bound=msgspec.Struct)

CONTENT_TYPE = "content-type"
JSON = b"application/json"
AVRO = b"application/vnd.confluent.avro"
MAX_DEPTH = 64
"""How deep JSON may nest; deeper is refused rather than recursed into."""

Headers = list[tuple[str, bytes]]

_MAGIC = struct.Struct(">bI")
_JSON_FIELDS = frozenset(
    {"payload", "result", "body", "payload_schema", "result_schema", "before", "after", "logprobs"}
)
"""Fields of type `records.Json`; a test holds this set against the `.avsc` files."""


class CodecError(BarnabasError):
    """These bytes are no record of this topic."""

    code = "record.malformed"


class UnknownSchemaError(CodecError):
    """The record was written by a schema that is not known here yet."""

    code = "record.unknown_schema"
    retryable = True

    def __init__(self, schema_id: int) -> None:
        self.schema_id = schema_id
        super().__init__(
            f"schema id {schema_id} is not known here: a newer writer? Upgrade this reader.", field="value"
        )


class _Table:
    """The schemas of the repository by id and by record type: `avro/ids.json` is part of the contract.

    An id never changes its meaning. A record whose schema grew gets a new id; the schema that it had stays in
    `avro/older`, so that what was written by it is still read, as the latest sees it.
    """

    def __init__(self) -> None:
        folder = resources.files("schemas") / "avro"
        ids: dict[str, str] = json.loads((folder / "ids.json").read_text())
        with resources.as_file(folder) as path:
            loaded = {int(i): fastavro.schema.load_schema(str(path / f"{name}.avsc")) for i, name in ids.items()}
        self.by_id: dict[int, Any] = loaded
        self.types: dict[int, type[msgspec.Struct]] = {
            schema_id: getattr(records, _name(schema)) for schema_id, schema in loaded.items()
        }
        # Ids rise, so the last one of a record is its latest.
        self.id_of = {record: schema_id for schema_id, record in sorted(self.types.items())}
        self.reader = {
            schema_id: None if schema_id == self.id_of[record] else loaded[self.id_of[record]]
            for schema_id, record in self.types.items()
        }


def _name(schema: Any) -> str:
    return str(schema["name"]).rpartition(".")[2]


_table = _Table()


def encode(record: msgspec.Struct) -> bytes:
    """Return a record in the Confluent wire format."""
    schema_id = _table.id_of[type(record)]
    out = io.BytesIO()
    out.write(_MAGIC.pack(0, schema_id))
    fastavro.schemaless_writer(
        out, _table.by_id[schema_id], msgspec.to_builtins(record, builtin_types=(bytes,)), strict=False
    )
    return out.getvalue()


def encode_json(record: msgspec.Struct) -> bytes:
    """Return a record as JSON of the same shape; produce it with the header `content-type: application/json`."""
    return msgspec.json.encode(_inline(msgspec.to_builtins(record, builtin_types=(bytes,))))


def decode(value: bytes | None, record: type[R], headers: Iterable[tuple[str, bytes | None]] | None = None) -> R:
    """Read a record.

    Args:
        value: the record's bytes as Kafka holds them.
        record: the type that the topic holds.
        headers: the record's headers; a `content-type` of JSON makes it be read as such.

    Raises:
        UnknownSchemaError: the schema id is none of the table: a newer writer, not bad data.
        CodecError: anything else that is no such record; `field` names where.
    """
    if value is None:
        raise CodecError("a tombstone (null) is no record of this topic", field="value")
    content_type = dict(headers or ()).get(CONTENT_TYPE) or AVRO  # Kafka allows a header without a value
    if content_type.partition(b";")[0].strip().lower() == JSON:
        return decode_json(value, record)
    if len(value) < _MAGIC.size:
        raise CodecError("shorter than the Confluent wire format's five bytes", field="value")
    magic, schema_id = _MAGIC.unpack_from(value)
    if magic != 0:
        raise CodecError(
            "does not begin with the Confluent magic byte 0; for JSON, set the header content-type: application/json",
            field="value",
        )
    if schema_id not in _table.by_id:
        raise UnknownSchemaError(schema_id)
    if _table.types[schema_id] is not record:
        raise CodecError(
            f"holds a {_table.types[schema_id].__name__}, this topic holds {record.__name__} records", field="value"
        )
    body = io.BytesIO(value[_MAGIC.size :])
    try:
        plain = fastavro.schemaless_reader(body, _table.by_id[schema_id], _table.reader[schema_id])
    except Exception as error:  # noqa: BLE001 - the reader raises whatever strange bytes make it stumble over
        raise CodecError(f"not a {record.__name__} in Avro: {type(error).__name__} {error}", field="value") from None
    if body.read(1):
        raise CodecError(f"bytes remain after the {record.__name__}", field="value")
    return _convert(plain, record)


def decode_json(value: bytes, record: type[R]) -> R:
    """Read a record from JSON of the same shape.

    Raises:
        CodecError: it is no such record; `field` names where.
    """
    try:
        plain = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"not JSON: {error}", field="value") from None
    if not isinstance(plain, dict):
        raise CodecError(f"a {record.__name__} in JSON is an object", field="value")
    return _convert(_pack(plain), record)


def _convert(plain: Any, record: type[R]) -> R:
    try:
        return msgspec.convert(plain, record)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise CodecError(message, field=path.strip(".`") or "value") from None


def _inline(plain: Any) -> Any:
    """Put each JSON document in place of its bytes, and leave out what is absent: a null is a document too."""
    if isinstance(plain, dict):
        return {
            name: msgspec.Raw(value) if name in _JSON_FIELDS else _inline(value)
            for name, value in plain.items()
            if value is not None
        }
    if isinstance(plain, list):
        return [_inline(item) for item in plain]
    return plain


def _pack(plain: Any, depth: int = 0) -> Any:
    """Put the bytes of each JSON document in place of the document."""
    if depth > MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH}", field="value")
    if isinstance(plain, dict):
        return {
            name: msgspec.json.encode(value) if name in _JSON_FIELDS else _pack(value, depth + 1)
            for name, value in plain.items()
        }
    if isinstance(plain, list):
        return [_pack(item, depth + 1) for item in plain]
    return plain
