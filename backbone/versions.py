"""Small files in versions, per owner: written by who read the one before, so that of two writers one wins.

A version is written by a conditional put, which a store does for one of those that try it at once. The other one hears
of it, reads the winner's and tries the next. Old versions go: the last ones are kept, for whoever still reads them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import obstore
from obstore.exceptions import AlreadyExistsError

from backbone.errors import VersionTakenError
from backbone.object_store import folder_name, open_store, reaching

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from backbone.settings import Settings

VERSIONS: Final = "versions"
"""The folder: `versions/<owner's hash>/<name>/<version>`."""
KEPT: Final = 10
"""How many versions of a file are kept."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Versions:
    """The versioned files of all owners. Nothing of them expires."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return those of the settings' store.

        Raises:
            BlobStoreError: its folder can't be made.
        """
        return cls(open_store(settings))

    async def newest(self, owner: str, name: str) -> int:
        """Return the number of a file's latest version, 0 where there is none; errors are those of `latest`."""
        return max(await self._numbers(owner, name), default=0)

    async def latest(self, owner: str, name: str) -> tuple[int, bytes] | None:
        """Return the number and the bytes of a file's latest version, None where there is none.

        Raises:
            BlobStoreError: the store did not answer.
        """
        while numbers := await self._numbers(owner, name):
            try:
                with reaching(FileNotFoundError):
                    found = await obstore.get_async(self._store, _path(owner, name, numbers[-1]))
                    return numbers[-1], bytes(await found.bytes_async())
            except FileNotFoundError:
                continue  # so many came after it since it was listed that it is kept no more
        return None

    async def add(self, owner: str, name: str, version: int, data: bytes) -> None:
        """Write a version: one more than the latest that was read, 1 for the first.

        Raises:
            VersionTakenError: somebody wrote it, or a later one: read the latest and try again.
            BlobStoreError: the store did not answer; whether it was written is not known.
        """
        numbers = await self._numbers(owner, name)
        if numbers and version <= numbers[-1]:
            raise VersionTakenError(f"version {version} of {name} is there; the latest is {numbers[-1]}")
        try:
            with reaching(AlreadyExistsError):
                await obstore.put_async(self._store, _path(owner, name, version), data, mode="create")
        except AlreadyExistsError:
            raise VersionTakenError(f"version {version} of {name} was written by somebody else") from None
        numbers = await self._numbers(owner, name)
        old = [number for number in numbers if number <= numbers[-1] - KEPT]
        if old:
            with suppress(FileNotFoundError), reaching(FileNotFoundError):  # another writer may delete them as well
                await obstore.delete_async(self._store, [_path(owner, name, number) for number in old])
        if version in old:
            # It was there before, and deleted: only so could it be made once more. Nobody would ever read it.
            raise VersionTakenError(f"version {version} of {name} came too late; the latest is {numbers[-1]}")

    async def _numbers(self, owner: str, name: str) -> list[int]:
        folder = _folder(owner, name)
        with reaching():
            listed = await obstore.list(self._store, f"{folder}/").collect_async()
        return sorted(int(one["path"].rpartition("/")[2]) for one in listed)


def _folder(owner: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a file: small letters, digits, dots, dashes and underscores")
    return f"{VERSIONS}/{folder_name(owner)}/{name}"


def _path(owner: str, name: str, version: int) -> str:
    return f"{_folder(owner, name)}/{version:012d}"
