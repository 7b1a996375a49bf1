"""Pure: what handlers are given and what they return, between their models and the JSON of records.

Whatever a handler returns that no reader could bear ends here with a typed error, and the task with it: passed on, it
would be refused by each reader in turn, and whoever waits for the task would wait for ever.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ValidationError

from backbone import chain
from backbone.chain import MOST_STEPS
from backbone.errors import StepError
from schemas.nesting import MOST_NESTED, is_deep
from schemas.records import Step
from streams.errors import (
    FollowedError,
    NextError,
    PayloadError,
    ResultError,
    ResultTooDeepError,
    ResultTooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.records import Task
    from streams.handlers.port import Next, Then


def parse(model: type[BaseModel], payload: bytes) -> BaseModel:
    """Return a payload as its model.

    Raises:
        PayloadError: it does not fit; `field` is the path of what doesn't, in the payload.
    """
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise PayloadError(message, field=".".join(str(part) for part in first["loc"])) from None


def write(made: object, model: type[BaseModel], largest: int) -> bytes:
    """Return a result as its record, or a blob, carries it.

    Args:
        made: what the handler returned.
        model: of the kind's results.
        largest: bytes that it may have.

    Raises:
        ResultError: it is none of the kind's, can't be written as JSON, is too large, or nests too deeply.
    """
    if not isinstance(made, model):
        raise ResultError(f"the handler returned {type(made).__name__}, not {model.__name__}", field="result")
    return _written(made, largest, "result")


def write_rest(following: Next[Any], model: type[BaseModel], largest: int) -> bytes:
    """Return the payload of the next part as its record, or a blob, carries it.

    Args:
        following: what the handler returned.
        model: of the kind's payloads.
        largest: bytes that it may have.

    Raises:
        NextError: it does not fit the kind, or its delay is negative; `field` says what.
        ResultError: it can't be written as JSON, is too large, or nests too deeply.
    """
    if following.delay < timedelta(0):
        raise NextError("its delay is negative", field="next.delay")
    payload = _written(following.payload, largest, "next.payload")
    try:
        parse(model, payload)
    except PayloadError as error:
        field = f"next.payload.{error.field}" if error.field else "next.payload"
        raise NextError(error.message, field=field) from None
    return payload


def follow(task: Task, then: Sequence[Then], largest: int) -> Task:
    """Return a task whose chain holds what its handler asks for, before what it held.

    Args:
        task: whose handler it is.
        then: what the handler returned.
        largest: bytes that the payloads of all steps may have together.

    Raises:
        FollowedError: a step has no kind, its payload is no JSON object or its look-ups can't be read, or the chain
            becomes too long or too large; `field` says where.
    """
    steps = [*(_step(step, f"then.{place}") for place, step in enumerate(then)), *task.then]
    # Parts and steps that are over count as well, or a handler that always asks for one more would never end.
    if task.step + len(steps) > MOST_STEPS:
        raise FollowedError(f"the chain would have {task.step + len(steps)} steps; at most {MOST_STEPS}", field="then")
    if sum(len(step.payload) for step in steps) > largest:
        raise FollowedError(f"the steps' payloads have more than {largest} bytes together", field="then")
    return msgspec.structs.replace(task, then=steps)


def _step(step: Then, field: str) -> Step:
    if not step.kind:
        raise FollowedError("it names no kind", field=f"{field}.kind")
    try:
        payload = msgspec.json.encode(dict(step.payload))
    except (TypeError, ValueError, RecursionError) as error:
        raise FollowedError(f"it can't be written as JSON: {error}", field=f"{field}.payload") from None
    if is_deep(payload):
        raise FollowedError(f"it is nested deeper than {MOST_NESTED}", field=f"{field}.payload")
    try:
        chain.check(payload, f"{field}.payload", kind=step.kind)
    except StepError as error:
        raise FollowedError(error.message, field=error.field) from None
    return Step(kind=step.kind, tier=step.tier, payload=payload)


def _written(made: BaseModel, largest: int, field: str) -> bytes:
    try:
        # Without pydantic's warnings, which would write what users said to the log.
        written = made.model_dump_json(by_alias=True, warnings=False).encode()
    except (ValueError, RecursionError) as error:  # pydantic's own among them
        raise ResultError(f"it can't be written as JSON: {error}", field=field) from None
    if len(written) > largest:
        raise ResultTooLargeError(f"{len(written)} bytes; it may have {largest}", field=field)
    if is_deep(written):
        raise ResultTooDeepError(f"it is nested deeper than {MOST_NESTED}", field=field)
    return written
