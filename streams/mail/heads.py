"""The heads of all owners in the store: read when they changed, and written one after another, so that none is lost.

Each correction is a version of its owner's head. Of two at once one is written; the other one is then made again from
that, so the later head holds both.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone.errors import VersionTakenError
from backbone.versions import KEPT
from streams.errors import HeadError
from streams.mail.head import OwnerHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.versions import Versions

NAME = "mail-head"
"""The file's name in the store."""
REMEMBERED = 64
"""Owners whose heads are kept in memory, at most 768 kB each."""
_UNTAUGHT = OwnerHead()


@dataclass(frozen=True, slots=True)
class Held:
    """An owner's head, as the store has it.

    Attributes:
        version: its number, 0 where nothing was ever taught.
        head: the head; one that was taught nothing where it can't be read.
        error: why it can't be read.
    """

    version: int = 0
    head: OwnerHead = _UNTAUGHT
    error: str | None = None

    def sound(self) -> OwnerHead:
        """Return the head, to be taught more.

        Raises:
            HeadError: it can't be read, and what it held would be lost.
        """
        if self.error is not None:
            raise HeadError(self.error)
        return self.head


class Heads:
    """The heads of all owners, as one process of many sees them."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._remembered: OrderedDict[str, Held] = OrderedDict()

    async def of(self, owner: str) -> Held:
        """Return an owner's latest head; its bytes are read only if it is not the one that was read last.

        Raises:
            BlobStoreError: the store did not answer.
        """
        held = self._remembered.get(owner, Held())
        if await self._versions.newest(owner, NAME) != held.version:
            held = await self._read(owner)
        self._remember(owner, held)
        return held

    async def change(self, owner: str, change: Callable[[Held], OwnerHead]) -> tuple[Held, Held]:
        """Write a changed head as the next version, and return what was there before and what is now.

        Args:
            owner: whose.
            change: from the latest head to the next; called again each time that somebody else's came before it.

        Raises:
            BlobStoreError: the store did not answer; whether it was written is not known.
        """
        return await self._change(owner, change, 1)

    async def forget(self, owner: str) -> Held:
        """Write a head that was taught nothing, and return it; the store keeps no version from before it.

        Raises:
            BlobStoreError: the store did not answer; whether it was done is not known.
        """
        # So far ahead, the store drops them all as old, and those that others are just now writing from one of them.
        _, after = await self._change(owner, lambda _: OwnerHead(), 2 * KEPT)
        return after

    async def _change(self, owner: str, change: Callable[[Held], OwnerHead], ahead: int) -> tuple[Held, Held]:
        while True:
            before = await self.of(owner)
            after = Held(before.version + ahead, change(before))
            try:
                await self._versions.add(owner, NAME, after.version, after.head.to_bytes())
            except VersionTakenError:
                continue
            self._remember(owner, after)
            return before, after

    async def _read(self, owner: str) -> Held:
        found = await self._versions.latest(owner, NAME)
        if found is None:
            return Held()
        version, data = found
        try:
            return Held(version, OwnerHead.from_bytes(data))
        except HeadError as error:
            return Held(
                version,
                error=f"version {version} of what you taught can't be read ({error.message});"
                " `mail.correct` with `forget` begins anew",
            )

    def _remember(self, owner: str, held: Held) -> None:
        self._remembered[owner] = held
        self._remembered.move_to_end(owner)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
