"""A connection's side of the sessions: what waits to be sent to it, within a bound of bytes. Does no I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from connectors import cursor as cursors
from connectors import frames
from connectors.cursor import TaskCursor
from connectors.errors import TooSlowError
from connectors.frames import Event, Resume
from connectors.packed import BY_TASK, View, conflated, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from connectors.cursor import Cursor
    from connectors.packed import Line, Packed


class Subscriber:
    """What waits to be sent: in order while the client keeps up, then merged, and beyond the bound no more at all."""

    def __init__(self, owners: frozenset[str], limit: int, wake: Callable[[], None]) -> None:
        """Begin.

        Args:
            owners: whose tasks it may hear of.
            limit: the most bytes that wait.
            wake: called when something does.
        """
        self.owners = owners
        self.tasks: set[str] = set()
        """Tasks that it has subscribed to."""
        self.views: set[View] = set()
        """What else it has subscribed to."""
        self.attached: set[str] = set()
        """Tasks that are to end with the connection, by the first one of their chain."""
        self.lost = False
        """Whether it was too slow, and is to be dropped."""
        self.limit = limit
        self._wake = wake
        self._waiting: deque[tuple[Packed, int]] = deque()
        self._size = 0
        self._conflated = 0
        self._sent: dict[str | View, Cursor] = {}

    def tell(self, packed: Packed) -> None:
        """Put a frame behind what waits. Over half the bound that is merged; over the bound the one frame left says so."""
        if self.lost:
            return
        # One frame alone may be larger than the bound: else whoever comes back for it would be dropped again and again.
        self._put(packed, min(len(packed.data), self.limit // 4))
        if self._size > max(self.limit // 2, min(2 * self._conflated, self.limit)):
            waiting = conflated(packed for packed, _ in self._waiting)
            self._waiting.clear()
            self._size = 0
            for one in waiting:
                self._put(one, len(one.data))
            self._conflated = self._size
        if self._size > self.limit:
            self.lose()
        else:
            self._wake()

    def next(self) -> Packed | None:
        """Return the frame that is to be sent next."""
        if not self._waiting:
            self._conflated = 0
            return None
        packed, weight = self._waiting.popleft()
        self._size -= weight
        if packed.line is not None:
            self._keep(packed.line)
        return packed

    def _put(self, packed: Packed, weight: int) -> None:
        self._waiting.append((packed, weight))
        self._size += weight

    def starts(self, view: View | str, cursor: Cursor) -> None:
        """Note where a subscription begins: from there it goes on if nothing of it can be sent."""
        self._sent[view] = cursor

    def ended(self, view: View | str) -> None:
        """Note that a subscription is over."""
        self._sent.pop(view, None)

    @property
    def has_room(self) -> bool:
        """Whether more may be told at once."""
        return self._size <= self.limit // 4

    def lose(self) -> None:
        """Drop what waits for one who reads too slowly."""
        self.lost = True
        self._waiting.clear()
        self._size = 0
        self._put(pack(frames.error(TooSlowError(), resume=self._resume())), 0)
        self._wake()

    def _resume(self) -> list[Resume]:
        resume = []
        for view, cursor in self._sent.items():
            text = cursors.write(cursor)
            if isinstance(view, View):
                resume.append(Resume(all=view.all, conversation=view.conversation, cursor=text))
            else:
                resume.append(Resume(task=view, cursor=text))
        return resume

    def _keep(self, line: Line) -> None:
        cursor, frame = line.cursor, line.told.frame
        if line.view != BY_TASK:
            self._sent[line.view] = cursor
        elif isinstance(cursor, TaskCursor):
            self._sent.pop(cursor.task, None)
            if not (isinstance(frame, Event) and frame.ends):
                self._sent[cursor.task] = cursor
            elif frame.next is not None:
                self._sent[frame.next] = TaskCursor(cursor.log, frame.next, cursor.partition)
