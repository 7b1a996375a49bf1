"""A wall clock's times as moments: what becomes of those that it never shows, and of those that it shows twice.

A clock that is put forward leaves times out, and one that is put back shows some again. Of such a time `fold=0` takes the
offset of before the change, and `fold=1` that of after it (PEP 495).
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from zoneinfo import ZoneInfo

_NOTHING = timedelta(0)
_MINUTE = timedelta(minutes=1)


def shown(times: Iterable[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Yield each moment at which the clock shows one of these rising naive times: none, one or two of each."""
    again: deque[datetime] = deque()
    for time in times:
        back = _put_back(time, zone)
        if back < _NOTHING:
            continue
        first = time.replace(tzinfo=zone)
        while again and again[0].astimezone(UTC) < first.astimezone(UTC):
            yield again.popleft()
        if back > _NOTHING:
            again.append(first.replace(fold=1))
        yield first
    yield from again


def once(times: Iterable[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Yield one moment for each of these naive times: the first one, or where it is left out the next full minute."""
    for time in times:
        there = time
        while _put_back(there, zone) < _NOTHING:
            there += _MINUTE
        yield there.replace(tzinfo=zone)


def time_before(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return a naive time such that the clock shows none that lies before it after that moment."""
    time = moment.astimezone(zone).replace(tzinfo=None, fold=0)
    return time - max(_NOTHING, _put_back(time, zone))


def _put_back(time: datetime, zone: ZoneInfo) -> timedelta:
    """Return by how much the clock is put back over this time; it is less than nothing where it is put forward."""
    there = time.replace(tzinfo=zone)
    before, after = there.utcoffset(), there.replace(fold=1).utcoffset()
    return _NOTHING if before is None or after is None else before - after
