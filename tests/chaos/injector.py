"""Strikes: the faults that were drawn meet the processes of a stack, and only those.

The supervisor of the stack is the real one, and starts again what ends. A second process is nobody's: it comes and
goes, under no name that the group would keep a place for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from barnabas.local.child import Child
from barnabas.local.log import Log
from barnabas.local.processes import MODULES
from tests.chaos.faults import Blow, Fault, Struck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from barnabas.local.stack import LocalStack

UNTIL_THERE = 120.0
"""Seconds in which a supervisor that works has started a process again."""
DRAIN_SECONDS = 15.0
"""What a second process may take to stop, as the supervisor has it for its own: then it is killed."""


class Injector:
    """Strikes a stack.

    Attributes:
        struck: what was done so far.
    """

    def __init__(self, stack: LocalStack, folder: Path, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._folder = folder
        self._say = say
        self._second: Child | None = None
        self._second_is = ""
        self.struck: list[Struck] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """Strike at each fault's moment; return when all is done and nothing is frozen any more."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as striking:
                for fault in faults:
                    await asyncio.sleep(began + fault.after - asyncio.get_running_loop().time())
                    # One that is frozen does not keep the next fault waiting.
                    striking.create_task(self._strike(fault))
        finally:
            if self._second:
                await self._second.stop(DRAIN_SECONDS)

    async def _strike(self, fault: Fault) -> None:
        match fault.blow:
            case Blow.JOIN:
                await self._join(fault)
            case Blow.LEAVE | Blow.VANISH:
                await self._go(fault)
            case Blow.KILL:
                await self._signal(fault, signal.SIGKILL)
            case Blow.RESTART:
                await self._signal(fault, signal.SIGTERM)
            case Blow.FREEZE:
                pid = await self._signal(fault, signal.SIGSTOP)
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    _send(pid, signal.SIGCONT)

    async def _signal(self, fault: Fault, number: signal.Signals) -> int:
        pid = await self._pid(fault)
        self._note(fault, pid)
        _send(pid, number)
        return pid

    async def _pid(self, fault: Fault) -> int:
        if fault.second and self._second and self._second_is == fault.process:
            return self._second.pid
        async with asyncio.timeout(UNTIL_THERE):
            while (pid := self._stack.pid(fault.process)) is None:  # noqa: ASYNC110 - the supervisor starts it
                await asyncio.sleep(0.05)
        return pid

    async def _join(self, fault: Fault) -> None:
        environment = {
            **self._stack.environment,
            "BARNABAS_HOME": str(self._folder / "second"),
            "BARNABAS_METRICS_PORT": "0",
        }
        log = Log(self._folder / "second.log")
        command = (sys.executable, "-m", *MODULES[fault.process])
        self._second_is = fault.process
        self._second = await Child.start(command, environment, log)
        self._note(fault, self._second.pid)

    async def _go(self, fault: Fault) -> None:
        second, self._second = self._second, None
        if second is None:
            raise AssertionError("a second process goes that never came")
        self._note(fault, second.pid)
        if fault.blow is Blow.VANISH:
            second.kill()
            await second.wait()
        else:
            await second.stop(DRAIN_SECONDS)

    def _note(self, fault: Fault, pid: int) -> None:
        self.struck.append(Struck(fault, time.time(), pid))
        self._say(f"{fault.kind}: {fault.process} ({pid})")


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it was killed meanwhile
        os.kill(pid, number)
