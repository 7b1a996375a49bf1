"""What a page may take of the machine's memory: a process of Chromium that grows beyond it is killed, and its page ends.

Chromium bounds what scripts allocate, and neither buffers, nor documents, nor what a megabyte of gzip unpacks to.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from playwright.async_api import Error as PlaywrightError

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import Browser

MOST_MEMORY = 1024 * 1024 * 1024
"""Bytes in memory that one of a browser's processes may have."""

_SECONDS = 0.2

_log = structlog.get_logger()


async def end_what_grows(browser: Browser, is_busy: Callable[[], bool]) -> None:
    """Watch a browser until it ends, while it is busy; where the system shows no `/proc`, nothing is watched."""
    with suppress(PlaywrightError):  # it ended
        control = await browser.new_browser_cdp_session()
        while True:
            await asyncio.sleep(_SECONDS)
            if not is_busy():
                continue
            for process in (await control.send("SystemInfo.getProcessInfo"))["processInfo"]:
                size = _resident(process["id"])
                if size > MOST_MEMORY:
                    _log.warning("web.browser_grows", process=process["type"], bytes=size)
                    with suppress(ProcessLookupError):
                        os.kill(process["id"], signal.SIGKILL)


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
