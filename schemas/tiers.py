"""The four priority tiers, first served first."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """A priority tier: each is a topic, a consumer group and a deployable of its own."""

    URGENT = "urgent"
    REALTIME = "realtime"
    BATCH = "batch"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the tier that goes first."""
        return list(Tier).index(self)
