"""Lists in Redis, of each owner's dead letters or schedules: ids by time, read page by page, the newest first.

A cursor is the time and the id of the last one that was looked at: what comes or goes meanwhile moves nothing.
"""

from __future__ import annotations

import base64
import heapq
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.redis import key
from connectors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio import Redis

    from backbone.settings import Settings


LATEST = 2**53
"""A time after all that are in a list."""


class Mark(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A place in the lists."""

    at: int
    id: str

    def cursor(self) -> str:
        """Return it as clients are given it."""
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, cursor: str) -> Mark:
        """Return the mark of a cursor.

        Raises:
            RequestError: it is none.
        """
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            mark = msgspec.msgpack.decode(base64.b64decode(padded, altchars="-_", validate=True), type=cls)
        except (ValueError, msgspec.DecodeError):
            mark = None
        if mark is None or not 0 <= mark.at <= LATEST:
            raise RequestError("is no cursor of this edge: leave it out to begin anew", field="cursor")
        return mark


class Lists:
    """The lists, read."""

    def __init__(self, redis: Redis, settings: Settings, name: Callable[[str], str]) -> None:
        """Read the lists of one make; `name` is that of an owner's list, without the prefix."""
        self._redis = redis
        self._settings = settings
        self._name = name

    async def page(
        self, owners: Iterable[str], *, since: int, before: int, after: Mark | None, most: int
    ) -> list[Mark]:
        """Return the next ones of these owners, the newest first.

        Args:
            owners: whose.
            since: the earliest time, in ms since the epoch.
            before: the time that they all lie before.
            after: where the page before ended.
            most: how many.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        try:
            rows = [await self._of(owner, since, before, after, most) for owner in owners]
        except RedisError as error:
            raise StoreUnavailableError from error
        return list(heapq.merge(*rows, reverse=True))[:most]

    async def _of(self, owner: str, since: int, before: int, after: Mark | None, most: int) -> list[Mark]:
        latest = before - 1 if after is None else min(before - 1, after.at)
        name, found, offset = key(self._settings, self._name(owner)), list[Mark](), 0
        while len(found) < most:
            rows: Any = await self._redis.zrange(
                name, latest, since, desc=True, byscore=True, offset=offset, num=most, withscores=True
            )
            marks = [Mark(int(at), identity.decode()) for identity, at in rows]
            # Of one time the ids decide; those of the cursor's time that were told are passed over.
            found += [mark for mark in marks if after is None or mark < after]
            offset += most
            if len(marks) < most:
                break
        return found[:most]
