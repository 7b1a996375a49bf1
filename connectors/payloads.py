"""Payloads on their way in: held against their kind, and carried by the record or, where too large for it, by a blob."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from backbone import chain
from backbone.errors import BlobChangedError, BlobMissingError, BlobTooLargeError, StepError
from backbone.offload import EMPTY, payload_of
from connectors.errors import PayloadError, PayloadTooLargeError
from connectors.showable import read_document
from schemas.nesting import MOST_INNER, MOST_NESTED, is_deep, is_wide
from schemas.records import Step

if TYPE_CHECKING:
    from backbone.blobs import Blobs
    from backbone.settings import Settings
    from connectors.kinds import Kinds
    from schemas.records import Task
    from schemas.tiers import Tier


AT_ONCE: Final = 4
"""Uploaded payloads that are held at once: a small request names a large one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWish:
    """What someone wants done after the step before."""

    kind: str
    payload: dict[str, Any]
    tier: Tier | None = None


class Carried(NamedTuple):
    """A payload as its record has it: the document, or the ref of the blob that is the document."""

    payload: bytes
    payload_ref: str | None = None


class Payloads:
    """Checks payloads, and puts what is too large for a record into its owner's blobs."""

    def __init__(self, settings: Settings, kinds: Kinds, blobs: Blobs) -> None:
        self._settings = settings
        self._kinds = kinds
        self._blobs = blobs
        self._room = asyncio.Semaphore(AT_ONCE)

    async def carry(self, owner: str, kind: str, payload: dict[str, Any] | None, ref: str | None) -> Carried:
        """Return a task's payload, or that of which an upload's ref was given, as its record carries it.

        Raises:
            KindUnknownError: nobody does this kind.
            PayloadError: it does not fit the kind, or there is not exactly one of the two.
            PayloadTooLargeError: it is larger than a blob may be.
            BlobMissingError, BlobChangedError: the upload can't be had.
            BlobStoreError: the store did not answer; nothing was accepted.
        """
        if payload is not None and ref is not None:
            raise PayloadError("give a payload or the ref of one, not both", field="payload_ref")
        if ref is not None:
            async with self._room:
                return await self._uploaded(owner, kind, ref)
        if payload is None:
            raise PayloadError("is required, or a payload_ref", field="payload")
        data = _document(payload, "payload", self._settings.max_upload_bytes)
        if len(data) <= self._settings.max_payload_bytes:
            self._kinds.check(kind, payload)
            return Carried(data)
        # Large documents take their time, which is everybody's in the event loop.
        await asyncio.to_thread(self._kinds.check, kind, payload)
        return Carried(EMPTY, (await self._blobs.put(owner, data)).ref)

    def check(self, kind: str, payload: dict[str, Any], field: str = "payload") -> bytes:
        """Return a payload as its record carries it, where no blob may.

        Raises:
            KindUnknownError: nobody does this kind.
            PayloadError: it does not fit the kind.
            PayloadTooLargeError: it is larger than a record may be.
        """
        data = _document(payload, field, self._settings.max_payload_bytes)
        self._kinds.check(kind, payload, field)
        return data

    async def recheck(self, task: Task) -> None:
        """Hold the payload of a task that is handed in again against its kind; one that is a blob is kept anew.

        Raises:
            KindUnknownError, PayloadError: as `carry`, and so are the errors of blobs.
        """
        async with self._room:
            data = await payload_of(task, self._blobs)
            try:
                payload = read_document(data)
            except ValueError as error:
                raise PayloadError(f"is no JSON document: {error}", field="payload") from None
            await asyncio.to_thread(self._kinds.check, task.kind, payload)
            if task.payload_ref is not None:
                await self._blobs.put(task.owner, data)

    async def step(self, wish: StepWish, field: str) -> Step:
        """Return a step as its record carries it; what its look-ups will find is held against its kind as it runs.

        Raises:
            KindUnknownError: nobody does this kind.
            PayloadError: it does not fit the kind, or a look-up can't be read.
            PayloadTooLargeError: it is larger than a record may be.
        """
        kind = await self._kinds.announced(wish.kind, f"{field}.kind")
        payload = _document(wish.payload, f"{field}.payload", self._settings.max_payload_bytes)
        try:
            chain.check(payload, f"{field}.payload", kind=wish.kind)
        except StepError as error:
            raise PayloadError(error.message, field=error.field) from None
        if not chain.looks_up(payload):
            self._kinds.check(wish.kind, wish.payload, f"{field}.payload")
        return Step(kind=wish.kind, tier=wish.tier or kind.tier, payload=payload)

    async def _uploaded(self, owner: str, kind: str, ref: str) -> Carried:
        """Hold an upload against its kind, and put it again, so that it lives as long as the task that names it."""
        try:
            data = await self._blobs.get(owner, ref)
        except (BlobMissingError, BlobChangedError, BlobTooLargeError) as error:
            error.field = "payload_ref"
            raise
        if is_wide(data):
            raise PayloadError(f"the upload holds more than {MOST_INNER} lists and objects", field="payload_ref")
        try:
            payload = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PayloadError(f"the upload is no JSON object: {error}", field="payload_ref") from None
        if is_deep(data, payload):
            raise PayloadError(f"the upload is nested deeper than {MOST_NESTED}", field="payload_ref")
        await asyncio.to_thread(self._kinds.check, kind, payload)
        await self._blobs.put(owner, data)
        return Carried(EMPTY, ref)


def _document(payload: dict[str, Any], field: str, most: int) -> bytes:
    """Return a payload's JSON, if it is not too large and everybody can read it."""
    try:
        data = msgspec.json.encode(payload)
    except RecursionError:
        raise PayloadError("is nested too deeply", field=field) from None
    if len(data) > most:
        raise PayloadTooLargeError(f"{len(data)} bytes; it may have {most}", field=field)
    if is_deep(data, payload):
        raise PayloadError(f"is nested deeper than {MOST_NESTED}", field=field)
    return data
