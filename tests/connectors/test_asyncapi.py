"""The AsyncAPI document says of the frames what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import pytest

from connectors import asyncapi, frames

ROOT = Path(__file__).parents[2]
DOCUMENT = asyncapi.document()
EXAMPLES = [
    json.loads(re.sub(r"\n\s*", " ", line))
    for block in re.findall(r"```json\n(\{\"type\".*?)```", (ROOT / "docs/protocol.md").read_text(), re.DOTALL)
    for line in re.findall(r"^\{.*?\}$", block, re.DOTALL | re.MULTILINE)
]


def resolved(document, ref):
    found = document
    for name in ref.removeprefix("#/").split("/"):
        found = found[name]
    return found


def refs(plain):
    if isinstance(plain, dict):
        for name, value in plain.items():
            if name == "$ref":
                yield value
            else:
                yield from refs(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from refs(value)


def test_all_that_it_refers_to_is_there():
    assert all(resolved(DOCUMENT, ref) for ref in refs(DOCUMENT))


def test_each_frame_is_said_or_told():
    operations = DOCUMENT["operations"]
    names = {
        side: [ref.rpartition("/")[2] for message in operations[side]["messages"] for ref in [message["$ref"]]]
        for side in operations
    }
    for side, union in (("said", frames.FromClient), ("told", frames.ToClient)):
        assert names[side] == [frame.__struct_config__.tag for frame in get_args(union)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_the_examples_of_the_documentation_are_such_frames(example):
    message = DOCUMENT["components"]["messages"][example["type"]]
    schema = {**resolved(DOCUMENT, message["payload"]["$ref"]), "components": DOCUMENT["components"]}
    jsonschema.validate(example, schema)
    if example["type"] in {frame.__struct_config__.tag for frame in get_args(frames.FromClient)}:
        frames.read(json.dumps(example))
        assert schema["additionalProperties"] is False


def test_the_documentation_has_an_example_of_each_frame():
    of_client = {frame.__struct_config__.tag for frame in (*get_args(frames.FromClient), *get_args(frames.ToClient))}
    assert {example["type"] for example in EXAMPLES} == of_client
    assert msgspec.json.encode(DOCUMENT)
