"""The one place that reads the time; cores take it as an argument instead."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def to_datetime(ms: int) -> datetime:
    """Return milliseconds since the epoch as an aware time in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(time: datetime) -> int:
    """Return an aware time as milliseconds since the epoch."""
    return (time - _EPOCH) // timedelta(milliseconds=1)
