"""The home: the one folder that holds all data of a local stack, and who owns it.

`Home` names every place in it. One stack at a time owns a home, by a kernel lock that dies with its process. `VERSION`
tells the layout, so that a newer Barnabas migrates an older home and an older one refuses a newer.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import msgspec
from filelock import FileLock, Timeout

from backbone.security.identity import make_key
from barnabas.errors import HomeError, HomeInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MIGRATIONS: Sequence[Callable[[Path], None]] = ()
"""Step n brings a home from layout n + 1 to n + 2. A step may be repeated after a crash, so each is idempotent."""

LOCK_WAIT = 1.0
"""Seconds to wait for the lock: `down` and `backup` hold it for an instant to see whether a stack runs."""


class Running(msgspec.Struct, frozen=True):
    """The stack that runs in a home, as it is written to `stack.json` for `down`, the CLI and the next start.

    Attributes:
        pid: process id of the supervisor.
        ready: whether all but the slow starters serve.
        kafka_bootstrap: where Kafka is.
        redis_url: where Valkey or Redis is.
        edge_url: where REST, WebSocket and the API's documentation are; None if this stack has no edge.
        children: process id and start time (s since the epoch) of each process, by name.
        phases: where the time of the start went: name and seconds.
    """

    pid: int
    ready: bool
    kafka_bootstrap: str
    redis_url: str
    edge_url: str | None = None
    children: dict[str, tuple[int, float]] = {}
    phases: list[tuple[str, float]] = []

    def told(self) -> Running:
        """Return it as it may be printed: without the password of a Redis of one's own."""
        url = urlsplit(self.redis_url)
        if url.password is None:
            return self
        bare = url.netloc.rpartition("@")[2]
        masked = urlunsplit(url._replace(netloc=f"{url.username or ''}:***@{bare}"))
        return msgspec.structs.replace(self, redis_url=masked)


@dataclass(frozen=True, slots=True)
class Home:
    """The places in a home folder."""

    path: Path

    @property
    def version(self) -> Path:
        """Number of the layout."""
        return self.path / "VERSION"

    @property
    def lock(self) -> Path:
        """Held by the stack that owns the home."""
        return self.path / "lock"

    @property
    def running(self) -> Path:
        """What runs; see `Running`."""
        return self.path / "stack.json"

    @property
    def api_key(self) -> Path:
        """The key that opens the edge."""
        return self.path / "api-key"

    @property
    def kafka(self) -> Path:
        """Kafka's configuration and log segments."""
        return self.path / "kafka"

    @property
    def valkey(self) -> Path:
        """Valkey's configuration and append-only file."""
        return self.path / "valkey"

    @property
    def models(self) -> Path:
        """Converted models: they can be made again."""
        return self.path / "models"

    @property
    def logs(self) -> Path:
        """What each process said."""
        return self.path / "logs"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the home, which is made if it is missing.

        Raises:
            HomeInUseError: another process holds it; the message names it.
            HomeError: it can't be written.
        """
        lock = FileLock(self.lock, timeout=LOCK_WAIT)
        try:
            with writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock.acquire()
        except Timeout:
            running = self.read_running()
            owner = f"process {running.pid}" if running else "another process"
            raise HomeInUseError(
                f"{owner} owns {self.path}: stop it with `barnabas down`, or set BARNABAS_HOME to another folder"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def open(self, migrations: Sequence[Callable[[Path], None]] = MIGRATIONS) -> None:
        """Make the layout, or bring an older one up to date; the caller owns the home.

        Raises:
            HomeError: the layout is newer than this Barnabas, the folder holds something else or can't be written, or
                its name can't be told to Kafka.
        """
        if unfit := set(str(self.path)) & set(",\n"):
            # Kafka would take it for several folders, and make the first one.
            raise HomeError(
                f"{str(self.path)!r} has {' and '.join(map(repr, unfit))} in it: set BARNABAS_HOME to another"
            )
        current = len(migrations) + 1
        if self.version.exists():
            self._migrate(migrations, current)
        else:
            self._refuse_foreign()
        write_atomically(self.version, f"{current}\n")
        with writing(self.path):
            for folder in (self.kafka, self.valkey, self.models, self.logs):
                folder.mkdir(exist_ok=True, mode=0o700)
        make_key(self.api_key)

    def _migrate(self, migrations: Sequence[Callable[[Path], None]], current: int) -> None:
        text = self.version.read_text(encoding="utf-8").strip()
        if not text.isdecimal() or int(text) < 1:
            raise HomeError(f"{self.version} holds {text!r}, which is no layout: restore the home from a backup")
        if (found := int(text)) > current:
            raise HomeError(
                f"{self.path} has layout {found}, this Barnabas knows up to {current}: "
                "upgrade Barnabas, or set BARNABAS_HOME to another folder"
            )
        for layout in range(found, current):
            migrations[layout - 1](self.path)
            write_atomically(self.version, f"{layout + 1}\n")

    def _refuse_foreign(self) -> None:
        """Refuse a folder of something else, so that `reset` can never delete it."""
        if foreign := self.foreign():
            raise HomeError(
                f"{self.path} is no home of Barnabas but holds {foreign[0]!r}: set BARNABAS_HOME to an empty folder"
            )

    def foreign(self) -> list[str]:
        """Return the names of what a folder without a layout may not hold, were it to become a home."""
        known = {entry.name for entry in (self.lock, self.api_key, self.models, self.logs)} | {"blobs"}
        return sorted(entry.name for entry in self.path.iterdir() if entry.name not in known)

    def read_running(self) -> Running | None:
        """Return what runs, or ran last and could not say that it stopped; None if nothing did."""
        try:
            return msgspec.json.decode(self.running.read_bytes(), type=Running)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, OSError) as error:
            raise HomeError(f"{self.running} can't be read ({error}): delete it") from None

    def write_running(self, running: Running) -> None:
        """Say what runs."""
        write_atomically(self.running, msgspec.json.encode(running).decode())


def write_atomically(path: Path, text: str) -> None:
    """Write a file that only its owner may read, so that a crash leaves the old one or the new one.

    Raises:
        HomeError: it can't be written; the old one is as it was.
    """
    beside = path.with_name(f"{path.name}.new")
    with writing(path.parent):
        try:
            with os.fdopen(
                os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            with suppress(OSError):  # the first error is the one to tell
                beside.unlink(missing_ok=True)
            raise


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what keeps a folder from being written, such as a full disk, into a HomeError with the way out."""
    try:
        yield
    except Timeout:  # a lock that is held; the library makes it an OSError
        raise
    except OSError as error:
        raise HomeError(
            f"{folder} can't be written ({error.strerror or error}): "
            "give it room and permission, or set BARNABAS_HOME to another folder"
        ) from error
