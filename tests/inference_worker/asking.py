"""Requests for tests on real workers, and when they have ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backbone.clock import now_ms
from backbone.ids import new_id
from schemas.records import Task
from schemas.tiers import Tier
from schemas.topics import INFERENCE
from tests.support import produce

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from backbone.settings import Settings


def ask(
    prompt: str = "Tell me a long story about a cat.",
    tier: Tier = Tier.URGENT,
    kind: str = "llm.chat",
    *,
    key: str = "",
    payload: dict[str, Any] | None = None,
    **more: Any,
) -> Task:
    """Return a request that has time; what it is to answer is the prompt of a chat, else the payload alone."""
    wanted = payload or {}
    if kind == "llm.chat":
        wanted = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "seed": 5} | wanted
    task_id = new_id()
    times = {"created_at": now_ms(), "start_by": now_ms() + 60_000, "deadline": now_ms() + 120_000} | more
    return Task(id=task_id, key=key or task_id, kind=kind, tier=tier, payload=json.dumps(wanted).encode(), **times)


async def submit(settings: Settings, *tasks: Task) -> None:
    """Put requests where workers take them."""
    for task in tasks:
        await produce(settings, INFERENCE[task.tier or Tier.URGENT], task.key, task)


def ended(tasks: Collection[Task]) -> Callable[[list[Any]], bool]:
    """Return whether events hold an end of each."""
    ids = {task.id for task in tasks}
    return lambda events: ids <= {event.task_id for event in events if event.status.terminal}


def end_of(events: list[Any], task: Task) -> Any:
    """Return the first end of a request."""
    return next(event for event in events if event.task_id == task.id and event.status.terminal)
