"""What the client does with dead letters: list them, look at them, replay and drop them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from barnabas.calls import AT_ONCE, Calls
from barnabas.replies import DeadLetter, Receipt, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime


class _DeadLetters(Reply, frozen=True, kw_only=True):
    dead_letters: list[DeadLetter]
    cursor: str | None = None


class LetterCalls(Calls):
    """The part of a client that is about dead letters."""

    async def dead_letters(
        self,
        *,
        kind: str | None = None,
        code: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
    ) -> AsyncGenerator[DeadLetter]:
        """Yield one's dead letters, the newest first, without what they carry.

        Args:
            kind: of their tasks.
            code: of their errors.
            status: what was done with them: `waiting` (nothing yet), `replayed` or `dropped`; any by default.
            since: the earliest (aware) time at which they became dead letters.
            before: the time before which they did.

        Raises:
            EdgeError: the edge refused; `code` and `field` say why.
        """
        asked: dict[str, str | int | None] = {
            "kind": kind,
            "code": code,
            "status": status,
            "since": None if since is None else since.isoformat(),
            "before": None if before is None else before.isoformat(),
            "limit": AT_ONCE,
        }
        while True:
            given = urlencode({name: value for name, value in asked.items() if value is not None})
            page = await self._ask("GET", f"/v1/dead-letters?{given}", _DeadLetters)
            for letter in page.dead_letters:
                yield letter
            if page.cursor is None:
                return
            asked["cursor"] = page.cursor

    async def dead_letter(self, letter: DeadLetter | str) -> DeadLetter:
        """Return a dead letter with what it carries, its attempts, and what was done with it.

        Raises:
            EdgeError: there is none (`letter.unknown`).
        """
        return await self._ask("GET", f"/v1/dead-letters/{quote(_id(letter), safe='')}", DeadLetter)

    async def replay(self, letter: DeadLetter | str, *, once: bool = False) -> Receipt:
        """Hand a dead letter's task in again: a new task with fresh times that points to the letter.

        Args:
            letter: the dead letter, or its id.
            once: refuse it if it was replayed before: so several can replay what waits, and nothing is done twice.

        Raises:
            EdgeError: there is no such letter, it was dropped (`letter.dropped`) or, with `once`, replayed
                (`letter.replayed`), or it can't be done again.
        """
        asked = "?once=true" if once else ""
        return await self._ask("POST", f"/v1/dead-letters/{quote(_id(letter), safe='')}/replay{asked}", Receipt)

    async def drop(self, letter: DeadLetter | str) -> None:
        """Put a dead letter aside for good; what its replays do goes on.

        Raises:
            EdgeError: there is no such letter, or it was dropped before (`letter.dropped`).
        """
        await self._request("DELETE", f"/v1/dead-letters/{quote(_id(letter), safe='')}")


def _id(letter: DeadLetter | str) -> str:
    return letter if isinstance(letter, str) else letter.id
