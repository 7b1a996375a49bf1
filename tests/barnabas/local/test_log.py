"""Logs, of real programs that speak much, crash, or speak to a full disk."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from barnabas.local.child import Child
from barnabas.local.log import Log

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

LIMIT = 100_000


async def _said(log: Log, script: str) -> int:
    child = await Child.start((sys.executable, "-c", script), {}, log)
    return await child.wait()


async def test_a_log_stays_within_its_bounds_while_the_program_runs_and_has_its_last_words(tmp_path: Path) -> None:
    log = Log(tmp_path / "chatty.log", limit=LIMIT)
    assert await _said(log, "for n in range(200_000): print(n)") == 0
    assert {log.path, log.before} == set(await asyncio.to_thread(lambda: list(tmp_path.iterdir())))
    assert max(log.before.stat().st_size, log.path.stat().st_size) <= LIMIT
    kept = log.before.read_bytes() + log.path.read_bytes()
    wanted = "".join(f"{n}\n" for n in range(200_000)).encode()
    assert wanted.endswith(kept)
    assert len(kept) >= LIMIT
    assert log.last_lines(2) == "199998\n199999"


async def test_the_last_words_before_a_crash_are_there(tmp_path: Path) -> None:
    log = Log(tmp_path / "crash.log")
    script = "import os; os.write(1, b'x' * 60_000 + b'\\nthe end'); os.kill(os.getpid(), 9)"
    for _ in range(5):
        assert await _said(log, script) == -signal.SIGKILL
    assert log.path.read_text() == ("x" * 60_000 + "\nthe end") * 5
    assert log.last_lines(1) == "the end"


async def test_the_end_of_a_program_is_told_only_after_its_last_words_are_written(tmp_path: Path) -> None:
    class SlowDisk(Log):
        def write(self, data: bytes) -> None:
            time.sleep(0.3)
            super().write(data)

    log = SlowDisk(tmp_path / "log")
    assert await _said(log, "print('the end')") == 0
    assert log.last_lines(1) == "the end"


async def test_what_the_disk_refuses_is_counted_remembered_and_no_reason_to_stand_still(tmp_path: Path) -> None:
    log = Log(tmp_path / "full" / "name.log")
    assert await _said(log, "print('y' * 999_999); print('no space left')") == 0
    assert log.last_lines(1) == "no space left"
    log.path.parent.mkdir()
    log.write(b"room again\n")
    assert log.path.read_text() == "[1000014 bytes could not be written here]\nroom again\n"


def test_the_last_lines_are_read_whatever_bytes_they_hold(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    assert log.last_lines(1) == ""
    log.write(b"first\nsecond \xff\nthird\n")
    assert log.last_lines(2) == "second \N{REPLACEMENT CHARACTER}\nthird"


def test_a_log_goes_on_where_an_earlier_supervisor_left_it(tmp_path: Path) -> None:
    Log(tmp_path / "log").write(b"before\n")
    Log(tmp_path / "log").write(b"after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"


async def test_what_a_process_says_itself_is_kept_in_bounds_to_its_last_word_and_not_after_that(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from barnabas.local.log import Log\n"
        "with Log(Path(sys.argv[1]), limit=100_000).keeping():\n"
        "    for n in range(50_000): print(n, file=sys.stderr)\n"
        "    os.write(2, b'the end')\n"
        "print('after', file=sys.stderr)\n"
    )
    log = Log(tmp_path / "own.log", limit=LIMIT)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(log.path)), stderr=asyncio.subprocess.PIPE
    )
    _, rest = await process.communicate()
    assert (process.returncode, rest) == (0, b"after\n")
    kept = log.before.read_bytes() + log.path.read_bytes()
    assert kept.endswith(b"49999\nthe end")
    assert LIMIT <= len(kept) <= 2 * LIMIT
