"""Pure: one task as its readers hear it, folded from its records in log order.

Of the tokens, those count that carry the latest claim and the next index; all else is of a worker that lost the
request. Their end may bring a last piece of text that is of no token: half a character, or what might have become a stop.
The terminal event waits for the end of its claim, unless another claim came. What is told of a record depends on the log
alone: so whoever comes back with the position that they had is told the rest, by whatever edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from connectors import frames
from connectors.cursor import BEGINNING, Position
from schemas.records import DeltaType, TaskEvent, TokenDelta

if TYPE_CHECKING:
    from connectors.frames import Event, Gap, Tokens
    from connectors.log import Logged


class Told(NamedTuple):
    """What is told of a task, how far it was told before and is after, and how many tokens it has been told by then."""

    frame: Event | Tokens | Gap
    before: Position
    after: Position
    so_far: int


class _Piece(NamedTuple):
    """Tokens of one record; `first` is the index of the first, before which those from `since` on are lost."""

    offset: int
    since: int
    first: int
    many: int
    text: str


class Stream:
    """What was told of a task so far, and what may be told next."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.torn = 0
        """The offset from which on the log still has tokens; a claim that lay before is believed."""
        self.over = False
        """Whether its terminal event was told."""
        self.position = BEGINNING
        """How far it was told."""
        self._claim = -1
        self._index = 0
        self._ended_claim = -1
        self._pieces: list[_Piece] = []
        self._events: list[Event] = []
        self._end: tuple[Event, TaskEvent] | None = None
        self._last_event = -1

    @property
    def next_id(self) -> str | None:
        """The task that follows it in its chain, known once it is over."""
        return self._end[1].next_id if self._end is not None else None

    @property
    def first_event(self) -> int | None:
        """The offset of its first event, where one was read."""
        first = self._events[0] if self._events else self._end[0] if self._end else None
        return first.offset if first else None

    @property
    def waits(self) -> bool:
        """Whether its terminal event waits for tokens."""
        return self._end is not None and not self.over

    def told_elsewhere(self, position: Position) -> bool:
        """Whether its end, which waits here, was told to one who has come that far: then no more tokens come."""
        return self.waits and self._end is not None and self._end[0].offset < position.events

    def take(self, logged: Logged) -> list[Told]:
        """Take the next record of the log, and return what is to be told."""
        if self.over:
            return []
        record = logged.record
        if isinstance(record, TokenDelta):
            told = self._delta(record, logged.offset)
            return told + self._due()
        if isinstance(record, TaskEvent) and self._end is None and logged.offset > self._last_event:
            self._last_event = logged.offset
            frame = frames.event(record, logged.topic, logged.partition, logged.offset)
            if record.status.terminal:
                self._end = frame, record
                return self._due()
            self._events.append(frame)
            return [self._event(frame)]
        return []

    def rest(self, after: Position = BEGINNING, index: int = 0) -> list[Told]:
        """Return what one who comes now is to be told first: the events, the text as one piece, the end.

        Args:
            after: how far they were told before.
            index: how many tokens that were.
        """
        told = []
        position = after
        for event in self._events:
            if event.offset >= after.events:
                reached = Position(event.offset + 1, position.tokens)
                told.append(Told(event, position, reached, index))
                position = reached
        pieces = [piece for piece in self._pieces if piece.offset >= after.tokens]
        if pieces:
            begin, last = pieces[0], pieces[-1]
            if (lost := self._gap(max(begin.since, index), begin.first)) is not None:
                told.append(Told(lost, position, position, begin.first))
            text = "".join(piece.text for piece in pieces)
            index = last.first + last.many
            frame = frames.Tokens(task=self.task, index=begin.first, count=index - begin.first, text=text)
            reached = Position(position.events, last.offset + 1)
            told.append(Told(frame, Position(position.events, begin.offset), reached, index))
            position = reached
        if self.over and self._end is not None and self._end[0].offset >= after.events:
            end = self._end[0]
            if (lost := self._gap(index, end.tokens or 0)) is not None and self._lost_end:
                told.append(Told(lost, position, position, end.tokens or 0))
            told.append(Told(end, position, Position(end.offset + 1, position.tokens), index))
        return told

    def give_up(self) -> list[Told]:
        """Return the end that waits, since the log has no more tokens for it: they are older than it keeps them."""
        if not self.waits or self._end is None:
            return []
        return self._close()

    @property
    def _lost_end(self) -> bool:
        """Whether tokens before its end are lost; what a claim said that another one took over is not."""
        return self._end is not None and self._end[1].claim not in {None, self._ended_claim} and not self._overtaken

    @property
    def _overtaken(self) -> bool:
        claim = self._end[1].claim if self._end is not None else None
        return claim is not None and claim < self._claim

    def _gap(self, index: int, until: int) -> Gap | None:
        return frames.Gap(task=self.task, index=index, until=until) if index < until else None

    def _event(self, frame: Event) -> Told:
        before = self.position
        self.position = Position(frame.offset + 1, before.tokens)
        return Told(frame, before, self.position, self._index)

    def _delta(self, delta: TokenDelta, offset: int) -> list[Told]:
        if delta.type is DeltaType.CLAIM:
            self._claim = max(self._claim, offset)
            return []
        if self._claim < delta.claim < self.torn:
            self._claim = delta.claim
        if delta.claim != self._claim or delta.claim == self._ended_claim:
            return []
        told = []
        last_words = delta.type is DeltaType.END and delta.text
        if (delta.token_ids or last_words) and self._goes_on(delta):
            told = self._tokens(delta, offset)
        if delta.type is DeltaType.END:
            self._ended_claim = delta.claim
        return told

    def _goes_on(self, delta: TokenDelta) -> bool:
        # Only what lay at the beginning can be lost: the log forgets from there.
        return delta.index == self._index or (self.torn > 0 and not self._pieces and delta.index > self._index)

    def _tokens(self, delta: TokenDelta, offset: int) -> list[Told]:
        told = []
        if (lost := self._gap(self._index, delta.index)) is not None:
            told.append(Told(lost, self.position, self.position, delta.index))
        count = len(delta.token_ids)
        self._pieces.append(_Piece(offset, self._index, delta.index, count, delta.text))
        self._index = delta.index + count
        before = Position(self.position.events, offset)
        self.position = Position(self.position.events, offset + 1)
        frame = frames.Tokens(task=self.task, index=delta.index, count=count, text=delta.text)
        return [*told, Told(frame, before, self.position, self._index)]

    def _due(self) -> list[Told]:
        if self._end is None:
            return []
        end = self._end[1]
        if end.claim is None:
            due = end.tokens is None or self._index >= end.tokens
        else:
            # Nothing more is accepted of a claim that has ended, or that another took over.
            due = self._overtaken or end.claim == self._ended_claim
        return self._close() if due else []

    def _close(self) -> list[Told]:
        if self._end is None:
            return []
        self.over = True
        frame = self._end[0]
        told = []
        if self._lost_end and (lost := self._gap(self._index, frame.tokens or 0)) is not None:
            told.append(Told(lost, self.position, self.position, frame.tokens or 0))
        return [*told, self._event(frame)]
