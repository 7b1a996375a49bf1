"""Cursors: how far a reader has come, in a text that is opaque to them and good at any edge and over any protocol.

A cursor of a task says how many records of its events and tokens were told. One of all tasks, or of a conversation's,
says up to which offset of each partition everything was told, and which tasks lag behind that: an end that waits for
its tokens, an answer that is still read from the log, or frames that a slow reader has yet to get. Offsets mean something
in one Kafka cluster only, so a cursor names it.
"""

from __future__ import annotations

import base64
import zlib
from typing import NamedTuple

import msgspec

from connectors.errors import CursorError

LONGEST = 16_384
"""Characters of a cursor that are looked at; of a longer one what is left can't be read."""
_MOST = 2**63 - 1


class Position(NamedTuple):
    """How far a task was told: the offsets of its next event and its next tokens. What lies before was told, or never is."""

    events: int = 0
    tokens: int = 0


BEGINNING = Position()


class Lag(NamedTuple):
    """A task that was told less far than others of its partition."""

    partition: int
    position: Position


class TaskCursor(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """How far a task was told.

    Attributes:
        log: which Kafka cluster it is of, see `log_id`.
        task: the task, or the step that follows it in its chain and was told last.
        partition: where its records lie.
        position: what is to be told next.
        index: how many tokens were told.
    """

    log: int
    task: str
    partition: int
    position: Position = BEGINNING
    index: int = 0


class FeedCursor(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """How far all tasks of an owner, or those of a conversation, were told.

    Attributes:
        log: which Kafka cluster it is of.
        at: when the last record that it covers was written, in ms since the epoch.
        ends: of each partition, up to which offsets of events and tokens all was told.
        behind: the tasks of which less was told than that.
    """

    log: int
    at: int
    ends: dict[int, Position]
    behind: dict[str, Lag] = {}


Cursor = TaskCursor | FeedCursor
_decoder = msgspec.msgpack.Decoder(Cursor)


def log_id(cluster_id: str) -> int:
    """Return what cursors hold of a Kafka cluster's id."""
    return zlib.crc32(cluster_id.encode())


def write(cursor: Cursor) -> str:
    """Return a cursor as clients are given it."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def read(text: str) -> Cursor:
    """Return the cursor that a client has given back.

    Raises:
        CursorError: it is none.
    """
    try:
        padded = text[: LONGEST + 1] + "=" * (-len(text) % 4)
        cursor: Cursor = _decoder.decode(base64.b64decode(padded, altchars="-_", validate=True))
        _check(cursor)
    except (ValueError, msgspec.MsgspecError, OverflowError) as error:
        raise CursorError("is no cursor of a subscription: leave it out to begin anew", field="cursor") from error
    return cursor


def _check(cursor: Cursor) -> None:
    if isinstance(cursor, TaskCursor):
        numbers = [cursor.partition, cursor.index, *cursor.position]
    else:
        numbers = [cursor.at, *cursor.ends]
        for position in (*cursor.ends.values(), *(lag.position for lag in cursor.behind.values())):
            numbers += position
        numbers += [lag.partition for lag in cursor.behind.values()]
    if not all(0 <= number <= _MOST for number in numbers):
        raise ValueError("out of bounds")
