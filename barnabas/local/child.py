"""One running program: started on a leash in a session of its own, its output in a log, and ended with all it started.

A session of its own keeps the terminal's Ctrl-C from it: the supervisor alone decides who stops when.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from barnabas.local.log import LAST_WORDS

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping, Sequence

    from barnabas.local.log import Log

LEASH = Path(__file__).with_name("leash.py")
LEFTOVER_LIMIT = 10.0


class Child:
    """A program that was started."""

    def __init__(self, process: asyncio.subprocess.Process, output: threading.Thread) -> None:
        self._process = process
        self._output = output
        self.pid = process.pid
        self.started_at = _started_at(process.pid)

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], log: Log) -> Child:
        """Start a program; `env` is added to this process's environment."""
        reading, writing = os.pipe()
        output = log.follow(reading)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command),
                env={**os.environ, **env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        return cls(process, output)

    async def wait(self) -> int:
        """Wait for the end, end whatever it left behind, hear its last words; return the exit status, or -signal."""
        status = await self._process.wait()
        _kill_group(self.pid)
        await asyncio.to_thread(self._output.join, LAST_WORDS)
        return status

    async def stop(self, limit: float) -> bool:
        """Ask it to end, and after `limit` seconds make it; return whether it ended by itself."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), limit)
        except TimeoutError:
            self.kill()
            await self.wait()
            return False
        return True

    def kill(self) -> None:
        """End it and all it started, now."""
        _kill_group(self.pid)


def _started_at(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it has ended already
        return 0.0


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(pid, signal.SIGKILL)


def end_leftovers(children: Iterable[tuple[int, float]]) -> int:
    """End what a dead supervisor left behind, and all that they started; return how many there were.

    Args:
        children: process id and start time of each; each leads a session, which its descendants are in.
    """
    sessions = {pid for pid, started_at in children if not _is_another(pid, started_at)}
    left = [process for process in psutil.process_iter() if _session(process.pid) in sessions and _alive(process)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + LEFTOVER_LIMIT
    while any(_alive(process) for process in left) and time.monotonic() < deadline:
        time.sleep(0.02)
    return len(left)


def _is_another(pid: int, started_at: float) -> bool:
    """Whether a number is another process's by now; it can't be while a session has it."""
    with suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - started_at) > 1.0
    return False


def _session(pid: int) -> int | None:
    with suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return None


def _alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that has ended may stay a zombie where nobody waits for it."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
