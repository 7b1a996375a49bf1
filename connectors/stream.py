"""Pure: one task as its readers hear it, folded from its records in log order.

Of the tokens, those count that carry the latest claim and the next index; all else is of a worker that lost the
request. Their end may bring a last piece of text that is of no token: half a character, or what might have become a stop.
The terminal event waits for the end of its claim, unless another claim came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors import frames
from schemas.records import DeltaType, TaskEvent, TokenDelta

if TYPE_CHECKING:
    from connectors.frames import Event, Tokens
    from connectors.log import Logged


class Stream:
    """What was told of a task so far, and what may be told next."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.over = False
        """Whether its terminal event was told."""
        self.owner: str | None = None
        self._claim = -1
        self._index = 0
        self._ended_claim = -1
        self._texts: list[str] = []
        self._events: list[Event] = []
        self._end: tuple[Event, TaskEvent] | None = None

    @property
    def next_id(self) -> str | None:
        """The task that follows it in its chain, known once it is over."""
        return self._end[1].next_id if self._end is not None else None

    @property
    def waits(self) -> bool:
        """Whether its terminal event waits for tokens."""
        return self._end is not None and not self.over

    def take(self, logged: Logged) -> list[Event | Tokens]:
        """Take the next record of the log, and return what is to be told."""
        if self.over:
            return []
        record = logged.record
        if isinstance(record, TokenDelta):
            told: list[Event | Tokens] = [*self._delta(record, logged.offset)]
            return told + self._due()
        if isinstance(record, TaskEvent) and self._end is None:
            frame = frames.event(record, logged.topic, logged.partition, logged.offset)
            if record.status.terminal:
                self._end = frame, record
                return self._due()
            self._events.append(frame)
            return [frame]
        return []

    def so_far(self) -> list[Event | Tokens]:
        """Return what one who comes later is to be told first: the events, the text as one piece, the end."""
        told: list[Event | Tokens] = [*self._events]
        if self._texts:
            text = "".join(self._texts)
            self._texts = [text]
            told.append(frames.Tokens(task=self.task, index=0, count=self._index, text=text))
        if self.over and self._end is not None:
            told.append(self._end[0])
        return told

    def give_up(self) -> list[Event | Tokens]:
        """Return the end that waits, since the log has no more tokens for it: they are older than it keeps them."""
        return self._close() if self.waits else []

    def _delta(self, delta: TokenDelta, offset: int) -> list[Tokens]:
        if delta.type is DeltaType.CLAIM:
            self._claim = max(self._claim, offset)
            return []
        if delta.claim != self._claim or delta.claim == self._ended_claim:
            return []
        told = []
        last_words = delta.type is DeltaType.END and delta.text
        if (delta.token_ids or last_words) and delta.index == self._index:
            count = len(delta.token_ids)
            told.append(frames.Tokens(task=self.task, index=self._index, count=count, text=delta.text))
            self._index += count
            self._texts.append(delta.text)
        if delta.type is DeltaType.END:
            self._ended_claim = delta.claim
        return told

    def _due(self) -> list[Event | Tokens]:
        if self._end is None:
            return []
        end = self._end[1]
        if end.claim is None:
            due = end.tokens is None or self._index >= end.tokens
        else:
            # Nothing more is accepted of a claim that has ended, or that another took over.
            due = end.claim < self._claim or end.claim == self._ended_claim
        return self._close() if due else []

    def _close(self) -> list[Event | Tokens]:
        self.over = True
        return [self._end[0]] if self._end else []
