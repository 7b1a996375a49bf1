"""Payloads and results that are too large for a record: into blobs before it is produced, out of them as it is read.

What follows from a task is first made whole, by pure functions that know nothing of blobs; then whatever of it is too
large is put into its owner's blobs, and the records carry refs. So look-ups, retries and replays work as with small
ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from backbone.outcome import Outgoing
from schemas.records import DeadLetter, Task, TaskEvent, Timer

if TYPE_CHECKING:
    from backbone.blobs import Blobs
    from backbone.outcome import Outcome

EMPTY = b"{}"
"""The payload of a task whose real one is a blob."""


async def payload_of(task: Task, blobs: Blobs) -> bytes:
    """Return a task's payload, wherever it is.

    Raises:
        BlobMissingError, BlobChangedError, BlobTooLargeError: it can't be had any more.
        BlobStoreError: the store did not answer; try again.
    """
    if task.payload_ref is None:
        return task.payload
    return await blobs.get(task.owner, task.payload_ref)


async def offloaded(outcome: Outcome, blobs: Blobs, largest: int) -> Outcome:
    """Return an outcome whose records carry no payload and no result of more than `largest` bytes.

    Raises:
        BlobStoreError: the store did not take one; try again.
    """
    records = [Outgoing(out.topic, out.key, await _slim(out.record, blobs, largest)) for out in outcome.records]
    return replace(outcome, records=tuple(records))


async def light(task: Task, blobs: Blobs, largest: int) -> Task:
    """Return a task whose payload, if it has more than `largest` bytes, is a blob; errors are those of `offloaded`."""
    if len(task.payload) <= largest:
        return task
    made = await blobs.put(task.owner, task.payload)
    return msgspec.structs.replace(task, payload=EMPTY, payload_ref=made.ref)


async def _slim(record: msgspec.Struct, blobs: Blobs, largest: int) -> msgspec.Struct:
    if isinstance(record, Task):
        return await light(record, blobs, largest)
    if isinstance(record, TaskEvent) and record.result is not None and len(record.result) > largest:
        made = await blobs.put(record.owner, record.result)
        return msgspec.structs.replace(record, result=None, result_ref=made.ref)
    if isinstance(record, Timer) and record.template.task is not None:
        task = await light(record.template.task, blobs, largest)
        return msgspec.structs.replace(record, template=msgspec.structs.replace(record.template, task=task))
    if isinstance(record, DeadLetter) and record.task is not None:
        return msgspec.structs.replace(record, task=await light(record.task, blobs, largest))
    return record
