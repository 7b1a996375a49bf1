"""What every handler of a kind keeps to. Inherit, say which class it is, and give it an example and bad payloads."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import jsonschema
import pytest
from obstore.store import MemoryStore

from backbone.blobs import Blobs
from backbone.settings import Settings
from schemas.errors import BarnabasError
from streams.documents import parse
from streams.handlers.port import Context, Handler

NOW = datetime(2026, 11, 4, 12, 0, tzinfo=UTC)


def context(now: datetime = NOW) -> Context:
    blobs = Blobs(MemoryStore(), most=2**25).of_owner("nadia")
    return Context(task_id="t1", owner="nadia", now=now, deadline=now + timedelta(seconds=30), blobs=blobs)


def read(handler: Handler[Any, Any], payload: dict[str, Any]) -> Any:
    """Return the payload as the tier's process reads it from a record."""
    return parse(handler.payload, json.dumps(payload).encode())


class HandlerContract:
    """The suite."""

    handler_class: ClassVar[type[Handler[Any, Any]]]

    @pytest.fixture
    def example(self) -> dict[str, Any]:
        """A payload that succeeds."""
        raise NotImplementedError

    @pytest.fixture
    def bad(self) -> dict[str, dict[str, Any]]:
        """For each field (the empty one: the whole payload), a payload in which that one is wrong."""
        raise NotImplementedError

    @pytest.fixture
    def settings(self, tmp_path) -> Settings:
        return Settings(home=tmp_path)

    @pytest.fixture
    async def handler(self, settings: Settings):
        handler = self.handler_class(settings)
        yield handler
        await handler.close()

    def test_schemas_are_valid_and_hold_their_examples(self, handler):
        schema = handler.payload.model_json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator.check_schema(handler.result.model_json_schema(mode="serialization"))
        assert schema["examples"]
        for example in schema["examples"]:
            jsonschema.validate(example, schema)
            read(handler, example)

    async def test_the_example_gives_a_result_that_fits_its_schema(self, handler, example):
        result = await handler.run(read(handler, example), context())
        assert isinstance(result, handler.result)
        said = result.model_dump_json(by_alias=True)
        jsonschema.validate(json.loads(said), handler.result.model_json_schema(mode="serialization"))
        assert handler.result.model_validate_json(said) == result

    async def test_a_bad_payload_gives_a_typed_error_that_names_the_field(self, handler, example, bad):
        assert bad
        for field, payload in bad.items():
            with pytest.raises(BarnabasError) as caught:
                await handler.run(read(handler, payload), context())
            assert caught.value.field == field
            assert not caught.value.retryable
            assert caught.value.message
        await handler.run(read(handler, example), context())

    async def test_two_at_once_are_as_one_alone(self, handler, example):
        alone = await handler.run(read(handler, example), context())
        together = await asyncio.gather(*(handler.run(read(handler, example), context()) for _ in range(4)))
        assert together == [alone] * 4

    async def test_closing_twice_is_closing_once(self, handler, example):
        await handler.run(read(handler, example), context())
        await handler.close()
        await handler.close()
