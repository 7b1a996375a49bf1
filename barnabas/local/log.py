"""The log of one process: all it says, read from a pipe and kept in two files of a bounded size while it runs.

A thread of its own reads until the pipe has no writer left, so that the last words of a crash are there and nobody
waits for the supervisor's event loop. When the supervisor itself is killed, what speaks has no reader any more and its
leash ends it; the files are whole as they are.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG_BYTES = 16 * 1024 * 1024
CHUNK = 64 * 1024
TAIL = 16 * 1024
STDERR = 2

LAST_WORDS = 2.0
"""Seconds to wait for the end of the output once a program has ended: what left its session may hold the pipe."""


class Log:
    """A log file and, beside it with `.1`, the one before it.

    Attributes:
        path: of the file.
    """

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        """Make a log; the file appears with the first word.

        Args:
            path: of the file.
            limit: bytes in each of the two files.
        """
        self.path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._tail = b""
        self._lost = 0

    @property
    def before(self) -> Path:
        """The file that was full."""
        return self.path.with_name(f"{self.path.name}.1")

    def follow(self, pipe: int) -> threading.Thread:
        """Start to read a pipe, to its end; the thread ends there, and closes it."""
        thread = threading.Thread(target=self._read, args=(pipe,), name=f"log {self.path.stem}", daemon=True)
        thread.start()
        return thread

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep what this process itself says on standard error, to its last word; then it is as it was."""
        before = os.dup(STDERR)
        reading, writing = os.pipe()
        output = self.follow(reading)
        os.dup2(writing, STDERR)
        os.close(writing)
        try:
            yield
        finally:
            os.dup2(before, STDERR)
            os.close(before)
            output.join(LAST_WORDS)

    def _read(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb", buffering=0) as said:
            while data := said.read(min(CHUNK, self._limit)):
                self.write(data)

    def write(self, data: bytes) -> None:
        """Append; what a full disk refuses is counted, and the count written once there is room again."""
        with self._lock:
            # In memory too: the disk may be full, which is then what the last lines tell.
            self._tail = (self._tail + data)[-TAIL:]
            note = f"[{self._lost} bytes could not be written here]\n".encode() if self._lost else b""
            try:
                self._make_room(len(note) + len(data))
                with self.path.open("ab") as file:
                    file.write(note + data)
            except OSError:  # whoever speaks may not stand still for it
                self._lost += len(data)
            else:
                self._lost = 0

    def _make_room(self, size: int) -> None:
        if self.path.exists() and self.path.stat().st_size + size > self._limit:
            self.path.replace(self.before)

    def last_lines(self, count: int = 15) -> str:
        """Return the last lines of what was said since the supervisor started."""
        with self._lock:
            text = self._tail.decode(errors="replace")
        return "\n".join(text.rstrip().split("\n")[-count:])
