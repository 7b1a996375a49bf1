"""Idempotency keys: the same key with the same request is the same task, however often it is sent.

A key's entry in Redis holds the request's hash and, once the task is durable, its receipt. An edge that dies between
the two leaves an entry without a receipt: whoever sends the request again gets the same task, produced again, which the
outcome rule makes nothing (cf. draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec
from redis.exceptions import RedisError

from backbone.errors import StoreUnavailableError
from backbone.redis import key
from connectors.errors import IdempotencyConflictError
from connectors.state import Place

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backbone.settings import Settings
    from connectors.gateway import Submission
    from schemas.tiers import Tier


class Entry(msgspec.Struct, frozen=True):
    """What is known of an idempotency key.

    Attributes:
        digest: of the request that used it first.
        created_at: when that was, in ms since the epoch: a repeat is the same task to the millisecond.
        place: where its record lies, once it is durable.
    """

    digest: bytes
    created_at: int
    place: Place | None = None


def digest_of(submission: Submission, tier: Tier) -> bytes:
    """Return the SHA-256 of what two submits with the same key must have alike, whatever the order of its fields."""
    asked: dict[str, Any] = {
        "kind": submission.kind,
        "tier": tier,
        "payload": submission.payload,
        "ordering_key": submission.ordering_key,
        "conversation": submission.conversation,
    }
    # Left out where nobody uses them: a digest that is older than they are still holds.
    if submission.payload_ref is not None:
        asked["payload_ref"] = submission.payload_ref
    if submission.then:
        asked["then"] = [(step.kind, step.tier, step.payload) for step in submission.then]
    if submission.deadline is not None:
        asked["deadline"] = submission.deadline
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).digest()


class IdempotencyKeys:
    """Idempotency keys in Redis, remembered for the settings' `outcome_ttl`."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, task_id: str) -> asyncio.Lock:
        """Return the lock under which this edge claims and completes a key, so that what comes at once is made once."""
        turn = self._turns.get(task_id)
        if turn is None:
            turn = self._turns[task_id] = asyncio.Lock()
        return turn

    async def claim(self, task_id: str, digest: bytes, now: int) -> Entry:
        """Take a key for a request, or find it taken by the same one.

        Args:
            task_id: the id derived from owner and key.
            digest: the request's.
            now: ms since the epoch.

        Raises:
            IdempotencyConflictError: another request took it.
            StoreUnavailableError: Redis did not answer.
        """
        mine = Entry(digest, now)
        try:
            stored: Any = await self._redis.set(
                self._name(task_id), msgspec.msgpack.encode(mine), nx=True, get=True, ex=self._settings.outcome_ttl
            )
        except RedisError as error:
            raise StoreUnavailableError from error
        if stored is None:
            return mine
        entry = msgspec.msgpack.decode(stored, type=Entry)
        if entry.digest != digest:
            raise IdempotencyConflictError(field="idempotency_key")
        return entry

    async def complete(self, task_id: str, entry: Entry, place: Place) -> None:
        """Keep where the task's record lies.

        Raises:
            StoreUnavailableError: Redis did not answer; a repeat is produced again then.
        """
        done = msgspec.structs.replace(entry, place=place)
        try:
            await self._redis.set(self._name(task_id), msgspec.msgpack.encode(done), ex=self._settings.outcome_ttl)
        except RedisError as error:
            raise StoreUnavailableError from error

    def _name(self, task_id: str) -> str:
        return key(self._settings, f"idempotency:{task_id}")
