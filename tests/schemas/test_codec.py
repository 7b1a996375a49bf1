"""Any record survives a round trip in both formats; any bytes at all give a record or a typed error."""

from __future__ import annotations

import io
import json
import struct
import typing
from pathlib import Path

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas import codec, records, topics
from schemas.errors import BarnabasError
from tests.schemas import strategies

RECORDS = sorted({topic.record for topic in topics.ALL}, key=lambda record: record.__name__)
AVRO = Path(schemas.__file__).parent / "avro"
JSON_HEADER = [("content-type", b"application/json")]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
class TestEveryRecord:
    @given(data=st.data())
    def test_survives_avro(self, record, data):
        value = data.draw(strategies.of(record))
        assert codec.decode(codec.encode(value), record) == value

    @given(data=st.data())
    def test_survives_json(self, record, data):
        value = data.draw(strategies.of(record))
        assert codec.decode(codec.encode_json(value), record, JSON_HEADER) == value

    @given(body=st.binary(max_size=200))
    def test_any_bytes_give_a_record_or_a_typed_error(self, record, body):
        schema_id = codec._table.id_of[record]
        for value in (body, b"\0" + struct.pack(">I", schema_id) + body):
            for headers in (None, JSON_HEADER):
                try:
                    assert isinstance(codec.decode(value, record, headers), record)
                except codec.CodecError as error:
                    assert error.field

    @given(data=st.data())
    def test_a_cut_or_lengthened_record_is_refused(self, record, data):
        value = codec.encode(data.draw(strategies.of(record)))
        cut = data.draw(st.integers(0, len(value) - 1))
        with pytest.raises(codec.CodecError):
            codec.decode(value[:cut], record)
        with pytest.raises(codec.CodecError):
            codec.decode(value + b"\0", record)

    def test_mirrors_its_avsc(self, record):
        parsed = fastavro.schema.load_schema(str(AVRO / f"barnabas.{record.__name__}.avsc"))
        assert [field["name"] for field in parsed["fields"]] == list(record.__struct_fields__)

    def test_null_is_told_from_a_record(self, record):
        with pytest.raises(codec.CodecError, match="tombstone"):
            codec.decode(None, record)


def ids() -> dict[str, str]:
    return json.loads((AVRO / "ids.json").read_text())


def test_every_schema_file_is_reached_from_the_table_of_ids():
    reached: set[str] = set()
    latest = {name for name in ids().values() if not name.startswith("older/")}

    def walk(node):
        if isinstance(node, dict):
            if node.get("type") in ("record", "enum"):
                reached.add(node["name"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    for name in latest:
        walk(fastavro.schema.load_schema(str(AVRO / f"{name}.avsc")))
    assert reached == {path.stem for path in AVRO.glob("*.avsc")}


def test_json_fields_are_those_that_the_contract_marks():
    marked = {
        field["name"]
        for path in AVRO.glob("*.avsc")
        for field in json.loads(path.read_text()).get("fields", ())
        if "logicalType" in json.dumps(field["type"])
    }
    assert marked == codec._JSON_FIELDS


def test_an_unknown_schema_id_is_a_newer_writer_not_bad_data():
    with pytest.raises(codec.UnknownSchemaError) as caught:
        codec.decode(b"\0\0\0\x27\x10", records.Task)
    assert caught.value.schema_id == 10000
    assert caught.value.retryable


def test_a_record_of_another_topic_is_refused_by_name():
    with pytest.raises(codec.CodecError, match="holds a Cancel"):
        codec.decode(codec.encode(records.Cancel(task_id="a", by="b", at=1)), records.Task)


def test_a_header_without_a_value_is_none():
    cancel = records.Cancel(task_id="a", by="b", at=1)
    assert codec.decode(codec.encode(cancel), records.Cancel, [("content-type", None)]) == cancel


def test_bounds_are_those_of_avro():
    """What msgspec takes, fastavro can write: an `int` field of the contract has no wider bounds here."""
    for record in RECORDS:
        parsed = fastavro.schema.load_schema(str(AVRO / f"barnabas.{record.__name__}.avsc"))
        hints = typing.get_type_hints(record, include_extras=True)
        for field in parsed["fields"]:
            kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
            if "int" in kinds or "long" in kinds:
                hint = hints[field["name"]]
                annotated = hint if typing.get_origin(hint) is typing.Annotated else typing.get_args(hint)[0]
                bounds = annotated.__metadata__[0]
                bits = 31 if "int" in kinds else 63
                assert -(2**bits) <= bounds.ge <= bounds.le < 2**bits, (record, field["name"])


def test_a_task_in_json_needs_no_more_than_its_kind():
    task = codec.decode(b'{"kind": "cron.parse", "payload": {"expression": "* * * * *"}}', records.Task, JSON_HEADER)
    assert json.loads(task.payload) == {"expression": "* * * * *"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"kind": 3}', "kind"),
        ("{}", "value"),
        ("[]", "value"),
        ('{"kind": "a", "then": [{"kind": 1}]}', "then[0].kind"),
        ('{"kind": "a", "tier": "soon"}', "tier"),
        ('{"kind": "a", "attempt": 1000000000000000000000000000000}', "attempt"),
        ('{"kind": "a", "attempt": -1}', "attempt"),
        ('{"kind": "a", "created_at": 100000000000000000}', "created_at"),
        ('{"kind": "a", "history": ' + "[" * 200 + "]" * 200 + "}", "value"),
    ],
)
def test_an_error_names_the_field(text, field):
    with pytest.raises(codec.CodecError) as caught:
        codec.decode(text.encode(), records.Task, JSON_HEADER)
    assert caught.value.field.startswith(field)
    assert isinstance(caught.value, BarnabasError)


OLDER = sorted((int(i), name) for i, name in ids().items() if name.startswith("older/"))


@pytest.mark.parametrize(("schema_id", "name"), OLDER)
class TestOlder:
    """FULL_TRANSITIVE: what an older writer wrote is read here, and what is written here an older reader reads."""

    @given(data=st.data())
    def test_what_it_wrote_is_read(self, schema_id, name, data):
        record = codec._table.types[schema_id]
        older = fastavro.schema.load_schema(str(AVRO / f"{name}.avsc"))
        value = data.draw(strategies.of(record))
        out = io.BytesIO()
        fastavro.schemaless_writer(out, older, msgspec.to_builtins(value, builtin_types=(bytes,)))
        read = codec.decode(struct.pack(">bI", 0, schema_id) + out.getvalue(), record)
        known = {field["name"] for field in older["fields"]}
        for field in msgspec.structs.fields(record):
            nested = field.name in ("task", "template")  # their own fields grew as well
            if field.name in known and not nested:
                assert getattr(read, field.name) == getattr(value, field.name)
            elif field.name not in known:
                assert getattr(read, field.name) == field.default

    @given(data=st.data())
    def test_it_reads_what_is_written(self, schema_id, name, data):
        record = codec._table.types[schema_id]
        older = fastavro.schema.load_schema(str(AVRO / f"{name}.avsc"))
        body = codec.encode(data.draw(strategies.of(record)))[5:]
        fastavro.schemaless_reader(io.BytesIO(body), codec._table.by_id[codec._table.id_of[record]], older)


def test_an_id_keeps_its_meaning():
    """Ids that were ever given out; a schema that grows gets a new one, and this table a new row."""
    assert {int(i): fastavro.schema.load_schema(str(AVRO / f"{name}.avsc"))["name"] for i, name in ids().items()} == {
        1: "barnabas.Task", 2: "barnabas.TaskEvent", 3: "barnabas.TokenDelta", 4: "barnabas.Cancel",
        5: "barnabas.Timer", 6: "barnabas.TimerState", 7: "barnabas.Fire", 8: "barnabas.DeadLetter",
        9: "barnabas.Delivery", 10: "barnabas.Kind", 11: "barnabas.ModelSpec", 12: "barnabas.AuditEntry",
        13: "barnabas.Task", 14: "barnabas.TaskEvent", 15: "barnabas.Timer", 16: "barnabas.DeadLetter",
        17: "barnabas.DeadLetter", 18: "barnabas.TokenDelta",
    }  # fmt: skip
