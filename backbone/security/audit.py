"""Who did what: entries on the topic `audit`, in a chain for each start of a process.

An entry holds the SHA-256 of the bytes of the one before it, so that a changed, missing or moved one is noticed. It is
written before what it tells of is done: what can't be written down isn't done.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from backbone.ids import new_id
from schemas import codec
from schemas.records import AuditEntry
from schemas.topics import AUDIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.kafka import Producer

MASKED: Final = "***"
_PRIVATE = frozenset({"payload", "raw", "result", "body", "message", "reply_to"})
"""Fields that hold what people wrote, or where they can be reached."""


class Audit:
    """The chain of this process."""

    def __init__(self, producer: Producer, now: Callable[[], int], make_id: Callable[[], str] = new_id) -> None:
        """Make a chain that has no entry yet.

        Args:
            producer: writes the entries.
            now: returns ms since the epoch.
            make_id: names a chain.
        """
        self._producer = producer
        self._now = now
        self._make_id = make_id
        self._turn = asyncio.Lock()
        self._chain, self._seq, self._previous = make_id(), 0, ""

    async def write(
        self,
        actor: str,
        address: str,
        action: str,
        resource: str,
        code: str,
        *,
        before: msgspec.Struct | None = None,
        after: msgspec.Struct | None = None,
    ) -> None:
        """Write an entry down.

        Args:
            actor: who acts.
            address: from where.
            action: what they do, such as `dead-letters.drop`.
            resource: what they do it to.
            code: `allowed` before it is done; the code of an error that then kept it from being done.
            before: the resource as it was; `snapshot` tells what is left of it.
            after: as it is to be.

        Raises:
            BrokerUnavailableError: it could not be written.
        """
        async with self._turn:
            entry = AuditEntry(
                chain=self._chain,
                seq=self._seq,
                previous=self._previous,
                at=self._now(),
                actor=actor,
                address=address,
                action=action,
                resource=resource,
                code=code,
                before=None if before is None else snapshot(before),
                after=None if after is None else snapshot(after),
            )
            try:
                await self._producer.send(AUDIT, self._chain, entry)
            except BaseException:
                # Whether it lies in the log is not known, nor then what the next one would follow: the chain ends.
                self._begin()
                raise
            self._seq += 1
            self._previous = digest(codec.encode(entry))

    def _begin(self) -> None:
        self._chain, self._seq, self._previous = self._make_id(), 0, ""


def digest(entry: bytes) -> str:
    """Return what the entry after this one holds of it: the SHA-256 of its bytes, in hexadecimal."""
    return hashlib.sha256(entry).hexdigest()


def snapshot(record: msgspec.Struct) -> bytes:
    """Return a record as JSON, with what people wrote and where they can be reached masked."""
    return msgspec.json.encode(_masked(msgspec.to_builtins(record, builtin_types=(bytes,))))


def _masked(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: MASKED if value and name in _PRIVATE else _masked(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return [_masked(value) for value in plain]
    return plain
