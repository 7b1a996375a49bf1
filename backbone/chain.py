"""Pure: from a task to the one that follows it: the next step of its chain, or the next part of its own work.

A chain is a line of steps: no fan-out, no join. A string in a step's payload may hold `{{ result.path }}`, which is
looked up in the result of the step before. A string that is nothing else becomes the value itself, whatever its type;
within other text the value is written out. It is a look-up, no code: names and list indexes with dots between them.

    {"url": "{{ result.links.0.url }}"}             where the first of the links leads
    {"expression": "{{ result.data.hours }} daily"}

In the prompt of a step for a model it becomes data beside the text (`backbone.quoting`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from backbone.errors import StepError
from backbone.ids import derived_id
from backbone.quoting import LOOKUP, PROMPTS, is_for_a_model, prompt
from backbone.stamp import stamp
from schemas.nesting import MOST_NESTED, is_deep
from schemas.records import Task

if TYPE_CHECKING:
    from backbone.settings import TierPolicy, TierTable

_NAME = re.compile(r"[^.\s{}]+(\.[^.\s{}]+)*")
_INDEX = re.compile(r"[0-9]{1,9}")

MOST_STEPS: Final = 32
"""The most steps that a chain may have after its first task."""


def next_id(task: Task) -> str:
    """Return the id of the task that follows a task: the next step of its chain, or the next part of its work."""
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


def next_part(task: Task, payload: bytes, *, policy: TierPolicy, due: int) -> Task:
    """Return the stamped task that goes on with a task's work, before what its chain holds after it.

    It is a step like any other, of the same kind and tier, but that its deadline is the task's: so however often work
    is handed on, it ends.

    Args:
        task: the task whose handler handed the rest on.
        payload: of the rest.
        policy: the tier's, which says how long the rest may wait once it is due.
        due: when the rest may begin, in ms since the epoch.
    """
    if task.tier is None:
        raise ValueError("the task is not stamped: it has no tier")
    part = msgspec.structs.replace(
        task,
        id="",
        payload=payload,
        payload_ref=None,
        created_at=due,
        start_by=0,
        attempt=1,
        history=[],
        parent_id=task.id,
        step=task.step + 1,
        idempotency_key=None,
        replay_of=None,
    )
    stamped = stamp(part, task_id=next_id(task), tier=task.tier, policy=policy, now=due)
    return msgspec.structs.replace(stamped, start_by=min(stamped.start_by, task.deadline))


def check(payload: bytes, field: str, *, kind: str) -> None:
    """Refuse the payload of a step of a kind whose look-ups can't be read, or stand where none may.

    Raises:
        StepError: `field` and the path of the string within.
    """
    _filled(msgspec.json.decode(payload), None, field, kind)


def looks_up(payload: bytes) -> bool:
    """Whether a step's payload holds anything that is written like a look-up."""
    return LOOKUP.search(payload.decode()) is not None


def fill(payload: bytes, result: bytes, largest: int, *, kind: str) -> bytes:
    """Return a step's payload with each look-up replaced by what it finds in the result.

    Args:
        payload: as the step's author wrote it.
        result: of the step before.
        largest: bytes that it may have in the end.
        kind: the step's; in the prompt of a model's, what is found is marked as data.

    Raises:
        StepError: the result has nothing at a path, or the payload grows over `largest` bytes or too deep; `field` says
            where.
    """
    scope = _Scope({"result": msgspec.json.decode(result)}, largest)
    filled = msgspec.json.encode(_filled(msgspec.json.decode(payload), scope, "payload", kind))
    scope.charge(len(filled) - scope.charged, "payload")
    if is_deep(filled):
        raise StepError(f"its payload is nested deeper than {MOST_NESTED}", field="payload")
    return filled


@dataclass(slots=True)
class _Scope:
    """Where look-ups look, and how many bytes what they found has in all.

    It is counted as it is found: a step that names a large result many times would else be gigabytes before it is known
    to be too large.
    """

    values: dict[str, Any]
    largest: int
    charged: int = 0

    def charge(self, size: int, field: str) -> None:
        self.charged += size
        if self.charged > self.largest:
            raise StepError(f"its payload has more than the {self.largest} bytes that one may have", field=field)


def _filled(payload: Any, scope: _Scope | None, field: str, kind: str) -> Any:
    """Return a payload with its look-ups replaced; without a scope they are only read."""
    if not is_for_a_model(kind) or not isinstance(payload, dict):
        return _fill(payload, scope, field)

    def found(path: str, where: str) -> str:
        value = _look_up(path, scope, where)
        return "" if value is None else _text(value)

    return {
        name: prompt(name, value, f"{field}.{name}", found)
        if name in PROMPTS
        else _fill(value, scope, f"{field}.{name}")
        for name, value in payload.items()
    }


def _fill(node: Any, scope: _Scope | None, field: str) -> Any:
    """Return a node with its look-ups replaced; without a scope they are only read."""
    if isinstance(node, dict):
        return {name: _fill(value, scope, f"{field}.{name}") for name, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, scope, f"{field}.{place}") for place, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    whole = LOOKUP.fullmatch(node)
    if whole:
        return _look_up(whole[1].strip(), scope, field)
    return LOOKUP.sub(lambda found: _text(_look_up(found[1].strip(), scope, field)), node)


def _look_up(path: str, scope: _Scope | None, field: str) -> Any:
    if not _NAME.fullmatch(path) or path.partition(".")[0] != "result":
        raise StepError(
            f"{{{{ {path} }}}} is no look-up; write {{{{ result.name }}}}, list indexes as numbers", field=field
        )
    if scope is None:
        return ""
    value: Any = scope.values
    for name in path.split("."):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise StepError(f"the step before has no {path!r} in its result: there is no {name!r}", field=field)
    size = len(msgspec.json.encode(value))
    scope.charge(size - 2 if isinstance(value, str) else size, field)  # within text, a text has no quotes
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
