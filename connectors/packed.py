"""Pure: frames as they wait to be sent, and how those that wait for a slow reader are made fewer.

A frame is encoded once, however many connections it goes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from connectors import cursor as cursors
from connectors.cursor import FeedCursor, Lag, Position, TaskCursor
from connectors.frames import Event, Gap, Tokens
from connectors.stream import Told
from schemas.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from connectors.cursor import Cursor
    from connectors.frames import ToClient

MIXED = 32
"""Tasks whose frames are merged across one another: each cursor between them has to tell of those that lag."""


class View(NamedTuple):
    """By what a subscriber hears of tasks: each by itself, all of a conversation, or all there are."""

    all: bool = False
    conversation: str | None = None

    @property
    def name(self) -> str | None:
        """Its name in frames; None where each task has a subscription of its own."""
        if self.all:
            return "all"
        return None if self.conversation is None else f"conversation:{self.conversation}"


BY_TASK = View()


class Line(NamedTuple):
    """What a frame says of a subscription: by which view, of what in which partition, and the cursor after it."""

    view: View
    told: Told
    partition: int
    cursor: Cursor


class Packed:
    """A frame and its JSON."""

    __slots__ = ("data", "frame", "line", "wire")

    def __init__(self, frame: ToClient, line: Line | None = None) -> None:
        self.frame = frame
        self.line = line
        self.data = msgspec.json.encode(frame)
        self.wire: bytes | None = None
        """What a protocol made of it that sends the same to all."""


def pack(frame: ToClient) -> Packed:
    """Return a frame that is of no subscription."""
    return Packed(frame)


def pack_line(line: Line) -> Packed:
    """Return what is told of a task, with the cursor after it."""
    frame = msgspec.structs.replace(line.told.frame, via=line.view.name, cursor=cursors.write(line.cursor))
    return Packed(frame, line)


def conflated(waiting: Iterable[Packed]) -> list[Packed]:
    """Return fewer frames that say the same: of each task one of tokens, and of its progress the latest.

    Frames of one task may go before earlier ones of another one. Each still has the cursor of what was told by then.
    """
    result: list[Packed] = []
    for chunk in _chunks(waiting):
        result += [packed for packed in chunk if packed.line is None] or _mixed(
            [packed.line for packed in chunk if packed.line is not None]
        )
    return result


def _chunks(waiting: Iterable[Packed]) -> Iterator[list[Packed]]:
    """Cut what waits where nothing goes across: at a frame of no subscription, and after so many tasks."""
    chunk: list[Packed] = []
    tasks: set[str | None] = set()
    for packed in waiting:
        alone = packed.line is None
        if chunk and (alone or (len(tasks) == MIXED and packed.line.told.frame.task not in tasks)):  # type: ignore[union-attr]  # `alone` tells
            yield chunk
            chunk, tasks = [], set()
        chunk.append(packed)
        if packed.line is None:
            yield chunk
            chunk = []
        else:
            tasks.add(packed.line.told.frame.task)
    if chunk:
        yield chunk


def _mixed(lines: list[Line]) -> list[Packed]:
    """Merge what is told of each task; in a feed the cursors between them tell which tasks lag behind the last one."""
    groups: dict[tuple[View, str | None], list[Line]] = {}
    last: dict[View, Cursor] = {}
    for line in lines:
        groups.setdefault((line.view, line.told.frame.task), []).append(line)
        last[line.view] = line.cursor
    left = {
        name: [
            Line(same[0].view, told, same[0].partition, same[-1].cursor) for told in merged([one.told for one in same])
        ]
        for name, same in groups.items()
    }
    result = []
    for (view, task), some in list(left.items()):
        del left[view, task]
        waiting = {other: _lag(first[0]) for (of, other), first in left.items() if of == view and other is not None}
        for number, line in enumerate(some, 1):
            cursor = line.cursor
            if isinstance(cursor, TaskCursor):
                cursor = msgspec.structs.replace(cursor, position=line.told.after, index=line.told.so_far)
            elif isinstance(end := last[view], FeedCursor):
                behind = {**end.behind, **waiting}
                if number < len(some) and task is not None:
                    behind[task] = Lag(line.partition, line.told.after)
                cursor = msgspec.structs.replace(end, behind=behind)
            result.append(pack_line(line._replace(cursor=cursor)))
    return result


def _lag(line: Line) -> Lag:
    return Lag(line.partition, line.told.before)


def merged(tolds: list[Told]) -> list[Told]:
    """Return what is told of one task with its tokens in one frame, and of its progress the latest."""
    events = [told for told in tolds if isinstance(told.frame, Event) and not told.frame.ends]
    progress = [told for told in events if told.frame.status == Status.PROGRESS]  # type: ignore[union-attr]  # events have one
    gaps = [told for told in tolds if isinstance(told.frame, Gap)]
    tokens = [told for told in tolds if isinstance(told.frame, Tokens)]
    ends = [told for told in tolds if isinstance(told.frame, Event) and told.frame.ends]
    at, index = tolds[0].before, tolds[0].so_far if not isinstance(tolds[0].frame, Tokens) else tolds[0].frame.index
    result = []
    for told in [*(one for one in events if one not in progress[:-1]), *gaps, *_joined(tokens), *ends]:
        frame = told.frame
        after = at
        if isinstance(frame, Event):
            after = Position(told.after.events, at.tokens)
        elif isinstance(frame, Tokens):
            after = Position(at.events, told.after.tokens)
            index = told.so_far
        else:
            index = told.so_far
        result.append(Told(frame, at, after, index))
        at = after
    return result


def _joined(tokens: list[Told]) -> list[Told]:
    if not tokens:
        return []
    frames = [told.frame for told in tokens if isinstance(told.frame, Tokens)]
    text = "".join(frame.text for frame in frames)
    frame = msgspec.structs.replace(frames[0], count=sum(frame.count for frame in frames), text=text)
    return [Told(frame, tokens[0].before, tokens[-1].after, tokens[-1].so_far)]
