"""Removes blobs whose time is over from a folder; in S3 a lifecycle rule does it (docs/contract.md).

A blob's time begins anew whenever it is put, so what is old was named by nothing for as long. One process at a time
sweeps, under a lease, and only as a courtesy: two at once would do no harm.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from backbone.blobs import BLOBS, INCOMING
from backbone.errors import LeaseTimeoutError, StoreUnavailableError
from backbone.ids import new_id
from backbone.lease import Lease
from backbone.object_store import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis.asyncio import Redis

    from backbone.settings import Settings

EVERY: Final = timedelta(hours=1)
LEFT_OVER: Final = timedelta(days=1)
"""The age at which what is on its way belongs to a process that died: an upload has minutes."""

WAIT_SECONDS: Final = 5.0
"""How long another process is waited for that sweeps; after that it has done what there is to do."""

_log = structlog.get_logger()


async def sweep_now_and_then(redis: Redis, settings: Settings) -> None:
    """Sweep the folder every hour, until cancelled; return at once where the store is no folder."""
    folder = folder_of(settings)
    while folder is not None:
        try:
            async with Lease(redis, settings, "blobs.sweep", wait=WAIT_SECONDS, outage=0, cancels=False):
                removed = await asyncio.to_thread(sweep, folder, time.time(), settings.blob_ttl)
                if removed:
                    _log.info("blobs.swept", removed=removed)
        except (LeaseTimeoutError, StoreUnavailableError):
            pass  # another process does it, or it is done an hour later
        except OSError as error:
            _log.warning("blobs.unswept", error=str(error))
        await asyncio.sleep(EVERY.total_seconds())


def sweep(folder: Path, now: float, ttl: timedelta) -> int:
    """Remove what is older than it may be, and return how many files that were.

    Args:
        folder: the store.
        now: seconds since the epoch.
        ttl: how long a blob is kept.
    """
    removed = 0
    for file in _files(folder / INCOMING):
        removed += _remove(file, now - LEFT_OVER.total_seconds(), folder)
    for file in _files(folder / BLOBS):
        # obstore writes beside the blob, as `name#1`, and then renames.
        age = LEFT_OVER if "#" in file.name else ttl
        removed += _remove(file, now - age.total_seconds(), folder)
    return removed


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those in it; what goes away meanwhile is passed over."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(folder / entry.name)
                else:
                    yield folder / entry.name
    except FileNotFoundError:
        return


def _remove(file: Path, before: float, folder: Path) -> int:
    """Remove a file that was last written before a time, and return 1 if it was."""
    aside = folder / INCOMING / f"old-{new_id()}"  # of nobody else, who may sweep a blob of the same bytes
    try:
        if file.lstat().st_mtime >= before:
            return 0
        # Put anew since it was looked at, it is young again: what was moved aside is looked at once more.
        aside.parent.mkdir(exist_ok=True)
        file.replace(aside)
        if aside.lstat().st_mtime >= before:
            aside.replace(file)
            return 0
        aside.unlink()
    except FileNotFoundError:
        return 0
    return 1
