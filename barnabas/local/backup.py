"""Backup, restore and reset of a home; each only while no stack runs in it.

A backup is a gzipped tar of the data (not of logs, nor of models, which can be made again) whose last member,
`MANIFEST.sha256`, lists the SHA-256 of every file. It holds the API key, so only its owner may read it. Kafka's and
Valkey's configuration holds no path or port that matters: it is written anew at each start.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import time
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import IO, TYPE_CHECKING

from barnabas.errors import BackupError, HomeError
from barnabas.local.home import writing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from barnabas.local.home import Home

MANIFEST = "MANIFEST.sha256"
RESTORING = "restoring"
CHUNK = 1024 * 1024


def backup(home: Home, file: Path, *, force: bool = False) -> int:
    """Write the data of a home to a file, which appears only once it is whole; return the number of files in it.

    Args:
        home: the home.
        file: to be written.
        force: replace a file that is there.

    Raises:
        BackupError: the file is there and `force` is not given; or it can't be written, and nothing is left of it.
        HomeInUseError: a stack runs in it.
        HomeError: there is no home to back up.
    """
    _must_exist(home)
    if file.exists() and not force:
        raise BackupError(f"{file} is there already: give --force to replace it, or another name", field="file")
    left_out = {home.lock, home.running, home.logs, home.models}
    with home.owned():
        entries = sorted(entry for entry in home.path.iterdir() if entry not in left_out)
        files = [path for entry in entries for path in _files(entry)]
        with _written(file), _appearing(file) as out, tarfile.open(fileobj=out, mode="w:gz", compresslevel=3) as tar:
            lines = [_add(tar, path, path.relative_to(home.path).as_posix()) for path in files]
            text = "".join(lines).encode()
            manifest = tarfile.TarInfo(MANIFEST)
            manifest.size, manifest.mode, manifest.mtime = len(text), 0o600, int(time.time())
            tar.addfile(manifest, io.BytesIO(text))
    return len(files)


def restore(file: Path, home: Home, *, force: bool = False) -> int:
    """Make a home of a backup, once all of it is unpacked and verified; return the number of files.

    Args:
        file: written by `backup`.
        home: to be made.
        force: replace a home that holds data.

    Raises:
        BackupError: the file is no backup, or damaged; the home is as it was.
        HomeInUseError: a stack runs in the home.
        HomeError: the home holds data, and `force` is not given; or it can't be written.
    """
    with home.owned(), writing(home.path):
        unpacked = home.path / RESTORING
        rmtree(unpacked, ignore_errors=True)
        there = [entry for entry in home.path.iterdir() if entry != home.lock]
        if there and not force:
            raise HomeError(f"{home.path} holds data: give --force to replace them, or set BARNABAS_HOME")
        if there and not home.version.exists():
            raise HomeError(f"{home.path} is no home of Barnabas: it is not replaced")
        unpacked.mkdir(mode=0o700)
        try:
            count = _unpack(file, unpacked)
        except BaseException:
            rmtree(unpacked)
            raise
        for entry in there:
            _delete(entry)
        # VERSION last: without it, a home that was cut off half-way is refused rather than opened.
        for entry in sorted(unpacked.iterdir(), key=lambda entry: entry.name == home.version.name):
            entry.rename(home.path / entry.name)
        unpacked.rmdir()
    return count


def reset(home: Home, *, keep: Collection[str] = ()) -> None:
    """Delete all that a home holds; one that holds nothing stays as it is.

    Args:
        home: the home.
        keep: names of entries to keep, such as `models`.

    Raises:
        HomeInUseError: a stack runs in it.
        HomeError: the folder is no home of Barnabas, or can't be written.
    """
    if not home.path.exists() or all(entry == home.lock for entry in home.path.iterdir()):
        return
    _must_exist(home)
    with home.owned(), writing(home.path):
        for entry in home.path.iterdir():
            if entry.name not in keep and entry not in (home.lock, home.version):
                _delete(entry)
        if not keep:
            home.version.unlink()  # last, so that a reset that was cut off can be repeated


def _must_exist(home: Home) -> None:
    if not home.version.exists():
        raise HomeError(f"{home.path} is no home of Barnabas (it has no {home.version.name})")


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        rmtree(entry)
    else:
        entry.unlink()


def _files(entry: Path) -> Iterator[Path]:
    if entry.is_file():
        yield entry
    else:
        yield from sorted(path for path in entry.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def _written(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{file} can't be written ({error.strerror or error}): nothing of it is left; write it to another disk"
        ) from error


@contextmanager
def _appearing(file: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only once it is written and on the disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> str:
    """Add a file and return its line of the manifest."""
    with path.open("rb") as opened:
        member = tar.gettarinfo(arcname=name, fileobj=opened)
        member.type = tarfile.REGTYPE  # a second hard link is a file like the first
        hashing = _Hashing(opened)
        tar.addfile(member, hashing)
    return f"{hashing.hexdigest()}  {name}\n"


def _unpack(file: Path, folder: Path) -> int:
    """Unpack a backup into an empty folder and verify it; return the number of files."""
    found: dict[str, str] = {}
    manifest: str | None = None
    try:
        with tarfile.open(file, mode="r:gz") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise BackupError(f"{file} holds {member.name!r}, which is no plain file: nothing was restored")
                if member.name == MANIFEST:
                    manifest = content.read().decode()
                else:
                    found[member.name] = _extract(content, folder, member)
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError) as error:
        raise BackupError(f"{file} can't be restored ({error}): nothing was") from error
    if manifest is None:
        raise BackupError(f"{file} has no {MANIFEST}: it is no backup, or its end is missing; nothing was restored")
    wanted = {name: digest for digest, _, name in (line.partition("  ") for line in manifest.splitlines())}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise BackupError(f"{name} in {file} is not what its manifest says: nothing was restored")
    return len(found)


def _extract(content: IO[bytes], folder: Path, member: tarfile.TarInfo) -> str:
    """Write one file, which must lie in the folder, and return its SHA-256."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise BackupError(f"the backup names {member.name!r}, which lies outside the home: nothing was restored")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    hashing = _Hashing(content)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while chunk := hashing.read(CHUNK):
            out.write(chunk)
    return hashing.hexdigest()


class _Hashing:
    """Reads through to a file, and knows the SHA-256 of all that was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._sha256.update(chunk)
        return chunk

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()
