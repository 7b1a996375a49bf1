"""A folder of bounded size: each value a file, written whole or not at all, checked when it is read.

A file holds the SHA-256 of the rest, when it expires, and the value. Several processes may use one folder; each sweeps
it after it has written a sixteenth of what may be there.
"""

from __future__ import annotations

import secrets
import struct
import time
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = struct.Struct(">32sd")
_SHARE = 16
_log = structlog.get_logger()


class Folder:
    """Values by name.

    Args:
        place: the folder; made when the first value is put.
        bound: bytes that all values may have; one process that writes goes over it by a sixteenth at most.
    """

    def __init__(self, place: Path, bound: int) -> None:
        self._place = place
        self._bound = bound
        self._unswept = bound

    def get(self, name: str) -> bytes | None:
        """Return a value, or None where there is none, it has expired, or its file is damaged."""
        try:
            data = self._file(name).read_bytes()
        except OSError:
            return None
        if len(data) < _HEAD.size:
            return None
        digest, until = _HEAD.unpack_from(data)
        if until <= time.time() or sha256(data[32:]).digest() != digest:
            self.drop(name)
            return None
        return data[_HEAD.size :]

    def put(self, name: str, value: bytes, life: float) -> None:
        """Keep a value for so many seconds; where the disk is full or away it is not kept."""
        if len(value) > self._bound // _SHARE:
            self.drop(name)
            return
        rest = struct.pack(">d", time.time() + life) + value
        file = self._file(name)
        written = file.with_suffix(f".{secrets.token_hex(8)}")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            written.write_bytes(sha256(rest).digest() + rest)
            written.replace(file)
        except OSError as error:
            _remove(written)
            _log.warning("web.cache_disk", error=str(error))
            return
        self._unswept += len(value)
        if self._unswept > self._bound // _SHARE:
            self._sweep()

    def drop(self, name: str) -> None:
        """Forget a value."""
        _remove(self._file(name))

    def _sweep(self) -> None:
        """Remove the oldest files until the others fit, and what a process that died was writing."""
        self._unswept = 0
        found: list[tuple[float, int, Path]] = []
        for file in self._place.glob("*/*"):
            try:
                stat = file.stat()
            except OSError:
                continue  # another process swept it
            found.append((stat.st_mtime, stat.st_size, file))
        room = self._bound
        for written, size, file in sorted(found, reverse=True):
            room -= size
            if room < 0 or (file.suffix and written < time.time() - 60):
                _remove(file)

    def _file(self, name: str) -> Path:
        return self._place / name[:2] / name


def _remove(file: Path) -> None:
    # What isn't there, or can't be reached, isn't read either.
    with suppress(OSError):
        file.unlink()
