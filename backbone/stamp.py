"""Pure: fill in what a task lacks. Whoever makes or first reads a task stamps it, by the same rule.

The edge stamps what it accepts; a worker stamps what a client produced straight to the topic. Stamping a stamped task
changes nothing, so a redelivery is the same task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from schemas.records import LAST_MS

if TYPE_CHECKING:
    from datetime import timedelta

    from backbone.settings import TierPolicy
    from schemas.records import Task
    from schemas.tiers import Tier

DIRECT = "direct"
"""Owner of a task that was produced straight to a topic and names none."""


def stamp(task: Task, *, task_id: str, tier: Tier, policy: TierPolicy, now: int, key: str | None = None) -> Task:
    """Return the task with id, key, tier, owner and times.

    Args:
        task: what was submitted or read.
        task_id: the id it gets if it has none.
        tier: its tier: that of the topic it goes to or came from.
        policy: the tier's, which gives it its times.
        now: when it was submitted, in ms since the epoch.
        key: the key it gets if it has none; else its conversation, else its id.
    """
    created = task.created_at or now
    last = LAST_MS if task.chain_deadline is None else task.chain_deadline
    start_by = min(task.start_by or created + _ms(policy.start_by), last)
    deadline = min(task.deadline or created + _ms(policy.deadline), last)
    identity = task.id or task_id
    return msgspec.structs.replace(
        task,
        id=identity,
        key=task.key or key or task.conversation or identity,
        tier=tier,
        owner=task.owner or DIRECT,
        tenant=task.tenant or task.owner or DIRECT,
        created_at=created,
        start_by=start_by,
        deadline=deadline,
        root_id=task.root_id or identity,
    )


def _ms(time: timedelta) -> int:
    return int(time.total_seconds() * 1000)
