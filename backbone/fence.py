"""A fence around a file or a folder: whoever had its lease before another wrote there writes there no more.

The last number that was let through is kept beside it. The check and the write stand under one lock of the operating
system, which a holder that is stopped keeps and one that dies loses: so nothing comes between them.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from backbone.errors import StaleFenceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def fenced(resource: Path, fence: int | None) -> Iterator[None]:
    """Let the block write; keep it short: renaming into place what was made elsewhere.

    On a network volume this needs locks that work across machines, as NFSv4 has them.

    Args:
        resource: the file or folder that the block writes.
        fence: number of the lease under which it does (`Lease.fence`); None where there is none, which the lock alone
            keeps apart from others.

    Raises:
        StaleFenceError: a later holder of the lease has been here.
    """
    noted = resource.with_name(f".{resource.name}.fence")
    with FileLock(resource.with_name(f".{resource.name}.lock")):
        if fence is not None:
            last = int(noted.read_text()) if noted.exists() else 0
            if fence < last:
                raise StaleFenceError(f"{resource.name} is under lease {last} since; this one is {fence}")
            _note(noted, fence)  # before the write: a crash between the two refuses too much, never too little
        yield


def _note(file: Path, fence: int) -> None:
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("w", encoding="ascii") as written:
        written.write(str(fence))
        written.flush()
        os.fsync(written.fileno())
    partial.replace(file)
