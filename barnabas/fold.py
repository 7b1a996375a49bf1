"""Pure: what comes of one task over a connection that may break, folded into each piece once and in order.

After a break the edge tells a task from its beginning, in pieces that may be cut otherwise than before. The text of an
answer never changes, so what was told already is known by its length alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from barnabas.errors import (
    ConnectionLostError,
    TaskCancelledError,
    TaskError,
    TaskExpiredError,
    TaskFailedError,
)
from barnabas.replies import Event, Gap, Result, Tokens
from schemas.errors import Problem
from schemas.records import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENDS: Mapping[Status, type[TaskError]] = {
    Status.FAILED: TaskFailedError,
    Status.EXPIRED: TaskExpiredError,
    Status.CANCELLED: TaskCancelledError,
}


class Fold:
    """The frames of one task in; what is new in them out."""

    def __init__(self, *, resumed: bool = False) -> None:
        """Begin; `resumed` says that what comes first may be the rest of an answer."""
        self._resumed = resumed
        self._told = 0  # characters handed on
        self._tokens = 0  # tokens handed on
        self._at = 0  # characters seen since the edge last began at token 0
        self._next = 0  # the token that must come next
        self._offset = -1  # of the last event handed on

    def take(self, frame: Event | Tokens | Gap) -> Event | Tokens | Gap | None:
        """Return what is new in a frame, None if nothing is.

        Raises:
            ConnectionLostError: tokens are missing before it.
        """
        match frame:
            case Event():
                return self._event(frame)
            case Tokens():
                return self._piece(frame)
            case _:
                return self._gap(frame)

    def _event(self, event: Event) -> Event | None:
        # The events of a task lie in one partition, so their offsets only grow.
        if event.offset <= self._offset:
            return None
        self._offset = event.offset
        return event

    def _gap(self, gap: Gap) -> Gap | None:
        until = gap.until or 0
        if until <= self._tokens:
            return None
        self._tokens = self._next = until
        return gap

    def _piece(self, piece: Tokens) -> Tokens | None:
        if piece.index == 0:
            self._at = self._next = 0
        elif self._resumed and not self._tokens:
            self._tokens = self._next = piece.index
        if piece.index != self._next:
            raise ConnectionLostError(f"token {self._next} of {piece.task} did not come, but {piece.index}: ask again")
        text = piece.text[max(0, self._told - self._at) :]
        self._at += len(piece.text)
        self._next += piece.count
        new = self._next - self._tokens
        if new <= 0 and not text:
            return None
        first, self._told, self._tokens = self._tokens, max(self._told, self._at), max(self._tokens, self._next)
        return msgspec.structs.replace(piece, index=first, count=max(new, 0), text=text)


def ended(event: Event) -> Result:
    """Return how a task ended.

    Args:
        event: its terminal event.

    Raises:
        TaskFailedError: it failed.
        TaskExpiredError: it did not start, or did not end, in its time.
        TaskCancelledError: it was cancelled.
    """
    if wrong := _ENDS.get(event.status):
        problem = event.error or Problem(wrong.code, f"{wrong.__doc__} (it names no reason)")
        raise wrong(problem, task_id=event.task)
    return Result(
        task=event.task,
        kind=event.kind,
        tier=event.tier,
        value=event.result,
        attempt=event.attempt,
        at=event.at,
        tokens=event.tokens,
    )
