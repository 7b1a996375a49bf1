"""The one table of topics: what each holds, how it is kept and who writes and reads it.

Every topic has the same number of partitions and every client uses the murmur2 partitioner, so that what shares a key
lies in partitions of the same number: a request, its tokens and its events.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from schemas import records
from schemas.tiers import Tier

if TYPE_CHECKING:
    import msgspec

INFERENCE_KINDS = "llm."
"""Kinds whose name begins so are read by inference workers, all others by the tier apps."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A row of the table.

    Attributes:
        name: without the prefix, which is a setting.
        record: what its values are.
        key: what its keys are, in words.
        retention: how long records stay; None for a compacted topic, which keeps the last one of each key.
    """

    name: str
    record: type[msgspec.Struct]
    key: str
    retention: timedelta | None

    def config(self) -> dict[str, str]:
        """Return the topic's configuration as Kafka spells it."""
        if self.retention is None:
            return {"cleanup.policy": "compact"}
        return {"cleanup.policy": "delete", "retention.ms": str(int(self.retention.total_seconds() * 1000))}


TASKS = {tier: Topic(f"tasks.{tier}", records.Task, "Task.key", timedelta(days=7)) for tier in Tier}
INFERENCE = {tier: Topic(f"inference.{tier}", records.Task, "Task.key", timedelta(days=7)) for tier in Tier}
TOKENS = Topic("inference.tokens", records.TokenDelta, "Task.key", timedelta(days=2))
RESULTS = Topic("results", records.TaskEvent, "Task.key", timedelta(days=7))
CANCELLATIONS = Topic("cancellations", records.Cancel, "Task.key", timedelta(days=1))
TIMERS = Topic("timers", records.Timer, "timer id", None)
TIMERS_STATE = Topic("timers.state", records.TimerState, "timer id", None)
TIMERS_FIRED = Topic("timers.fired", records.Fire, "timer id", timedelta(days=30))
DEAD_LETTERS = Topic("dead-letters", records.DeadLetter, "Task.key", timedelta(days=30))
DELIVERIES = Topic("deliveries", records.Delivery, "address", timedelta(days=7))
KINDS = Topic("kinds", records.Kind, "kind", None)
MODELS = Topic("models", records.ModelSpec, "model id", None)
AUDIT = Topic("audit", records.AuditEntry, "chain id", timedelta(days=400))

ALL: tuple[Topic, ...] = (
    *TASKS.values(),
    *INFERENCE.values(),
    TOKENS,
    RESULTS,
    CANCELLATIONS,
    TIMERS,
    TIMERS_STATE,
    TIMERS_FIRED,
    DEAD_LETTERS,
    DELIVERIES,
    KINDS,
    MODELS,
    AUDIT,
)
BY_NAME = {topic.name: topic for topic in ALL}


def for_task(task: records.Task) -> Topic:
    """Return the topic that a stamped task belongs on.

    Raises:
        ValueError: it is not stamped.
    """
    if task.tier is None:
        raise ValueError("the task is not stamped: it has no tier")
    return for_kind(task.kind, task.tier)


def for_kind(kind: str, tier: Tier) -> Topic:
    """Return the topic that a task of `kind` belongs on in `tier`."""
    return (INFERENCE if kind.startswith(INFERENCE_KINDS) else TASKS)[tier]
