"""Pure: from a task that succeeded to the next step of its chain.

A chain is a line of steps: no fan-out, no join. A string in a step's payload may hold `{{ result.path }}`, which is
looked up in the result of the step before. A string that is nothing else becomes the value itself, whatever its type;
within other text the value is written out. It is a look-up, no code: names and list indexes with dots between them.

    {"url": "{{ result.links.0 }}"}             the first of the links
    {"prompt": "Sum this up: {{ result.text }}"}
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from backbone.errors import StepError
from backbone.ids import derived_id
from backbone.stamp import stamp
from schemas.records import Task

if TYPE_CHECKING:
    from backbone.settings import TierTable

_LOOKUP = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_NAME = re.compile(r"[^.\s{}]+(\.[^.\s{}]+)*")


def next_id(task: Task) -> str:
    """Return the id of the task that follows a task in its chain."""
    return derived_id(task.id, "step", task.step + 1)


def next_task(task: Task, tiers: TierTable, now: int) -> Task:
    """Return the stamped task of the next step, its payload as it was written, look-ups and all.

    It keeps the key, so that all events of a chain lie in one partition, and gets the times of its own tier from now;
    an end that the chain carries bounds them.
    """
    step, *rest = task.then
    tier = step.tier or task.tier
    if tier is None:
        raise ValueError("the task is not stamped: it has no tier")
    following = Task(
        kind=step.kind,
        key=task.key,
        owner=task.owner,
        tenant=task.tenant,
        payload=step.payload,
        root_id=task.root_id,
        parent_id=task.id,
        step=task.step + 1,
        conversation=task.conversation,
        reply_to=task.reply_to,
        then=rest,
        chain_deadline=task.chain_deadline,
    )
    return stamp(following, task_id=next_id(task), tier=tier, policy=tiers[tier], now=now)


def check(payload: bytes, field: str) -> None:
    """Refuse a step's payload whose look-ups can't be read.

    Raises:
        StepError: `field` and the path of the string within.
    """
    _fill(msgspec.json.decode(payload), None, field)


def looks_up(payload: bytes) -> bool:
    """Whether a step's payload holds anything that is written like a look-up."""
    return _LOOKUP.search(payload.decode()) is not None


def fill(payload: bytes, result: bytes, largest: int) -> bytes:
    """Return a step's payload with each look-up replaced by what it finds in the result.

    Raises:
        StepError: the result has nothing at a path, or the payload grows over `largest` bytes; `field` says where.
    """
    scope = {"result": msgspec.json.decode(result)}
    filled = msgspec.json.encode(_fill(msgspec.json.decode(payload), scope, "payload"))
    if len(filled) > largest:
        raise StepError(f"its payload has {len(filled)} bytes, {largest} travel in a record", field="payload")
    return filled


def _fill(node: Any, scope: dict[str, Any] | None, field: str) -> Any:
    """Return a node with its look-ups replaced; without a scope they are only read."""
    if isinstance(node, dict):
        return {name: _fill(value, scope, f"{field}.{name}") for name, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, scope, f"{field}.{place}") for place, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    whole = _LOOKUP.fullmatch(node)
    if whole:
        return _look_up(whole[1], scope, field)
    return _LOOKUP.sub(lambda found: _text(_look_up(found[1], scope, field)), node)


def _look_up(path: str, scope: dict[str, Any] | None, field: str) -> Any:
    if not _NAME.fullmatch(path) or path.partition(".")[0] != "result":
        raise StepError(
            f"{{{{ {path} }}}} is no look-up; write {{{{ result.name }}}}, list indexes as numbers", field=field
        )
    if scope is None:
        return ""
    value: Any = scope
    for name in path.split("."):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            raise StepError(f"the step before has no {path!r} in its result: there is no {name!r}", field=field)
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
