"""A stack seen from outside: started in the background, looked for, and brought down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import msgspec

from barnabas.errors import HomeInUseError, NotRunningError, ReportedError, ServiceFailedError, StopTimeoutError
from barnabas.local.home import writing
from schemas.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from backbone.settings import Settings
    from barnabas.local.home import Home, Running

SUPERVISOR_LOG = "supervisor.log"
POLL = 0.1

DOWN_LIMIT = 120.0
"""Seconds that a stack may take to stop: a little more than all its drain timeouts together."""


class _Told(msgspec.Struct):
    """The line by which a command with `--json` says what went wrong."""

    error: Problem


def up_detached(settings: Settings, home: Home, out: TextIO, *, only: Collection[str] | None = None) -> Running:
    """Start a stack in the background; return once it is ready.

    Args:
        settings: the settings; the background process reads them from the same environment.
        home: the stack's home.
        out: is shown what the background process says meanwhile.
        only: names of the processes to start; all by default.

    Raises:
        HomeInUseError: a stack runs already.
        HomeError: the home can't be written.
        ReportedError: it could not start; the error is the background process's own.
        ServiceFailedError: it ended without a word why.
    """
    log = home.logs / SUPERVISOR_LOG
    with home.owned(), writing(home.path):  # or it is in use
        home.logs.mkdir(exist_ok=True, mode=0o700)
        log.unlink(missing_ok=True)
        # For what it says before it keeps its log itself, and should it crash.
        output = log.open("ab")
    with output:
        process = subprocess.Popen(
            # With --json its error can be read, and is handed on.
            (
                *(sys.executable, "-m", "barnabas.local", "up", "--json", f"--log={log.absolute()}"),
                *(f"--only={name}" for name in only or ()),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "BARNABAS_HOME": str(settings.home)},
        )
    with log.open(encoding="utf-8", errors="replace") as said:
        while True:
            ended = process.poll() is not None  # looked up first: what it says last is read all the same
            for line in _lines(said):
                if line.startswith('{"error":'):
                    raise ReportedError(msgspec.json.decode(line, type=_Told).error)
                out.write(line)
            out.flush()
            running = home.read_running()
            if running and running.pid == process.pid and running.ready:
                return running
            if ended:
                raise ServiceFailedError(f"the stack could not start; all it said is in {log}")
            time.sleep(POLL)


def _lines(said: TextIO) -> Iterator[str]:
    """Yield the lines of a growing file that are whole."""
    while True:
        at = said.tell()
        line = said.readline()
        if not line.endswith("\n"):
            said.seek(at)
            return
        yield line


def is_running(home: Home) -> bool:
    """Whether a stack owns the home."""
    if not home.lock.exists():
        return False
    try:
        with home.owned():
            return False
    except HomeInUseError:
        return True


def down(home: Home, limit: float = DOWN_LIMIT) -> int:
    """Stop the stack that runs in a home, and wait until it is gone.

    Args:
        home: the stack's home.
        limit: seconds to wait.

    Returns:
        The process id that its supervisor had.

    Raises:
        NotRunningError: nothing runs there.
        StopTimeoutError: it did not end in time.
    """
    running = home.read_running() if is_running(home) else None
    if running is None:
        raise NotRunningError(f"no stack runs in {home.path}")
    with suppress(ProcessLookupError):  # it was about to end by itself
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + limit
    while is_running(home):  # each look takes a second while it runs
        if time.monotonic() > deadline:
            raise StopTimeoutError(
                f"process {running.pid} is still stopping after {limit:.0f} s: "
                f"wait, or end it with `kill -9 {running.pid}`"
            )
    return running.pid
