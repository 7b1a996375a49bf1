"""All processes of a stack together: started together, kept alive, drained in order.

`start` returns once all but the slow starters are ready; `drain` stops them wave by wave; `kill` ends all at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from barnabas.local.display import Display, Row, State
from barnabas.local.keeper import Keeper
from barnabas.local.lifecycle import drain_waves
from barnabas.local.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from barnabas.local.processes import Process


class Supervisor:
    """Keeps processes alive. Use it in one event loop."""

    def __init__(
        self,
        logs: Path,
        display: Display,
        *,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make a supervisor of nothing yet.

        Args:
            logs: the folder of the processes' output.
            display: is shown each change.
            changed: called when a process has started, so that its id can be noted.
            clock: seconds, never going back.
            jitter: from 0 to 1, for the waits between restarts.
        """
        self._logs = logs
        self._display = display
        self._changed = changed
        self._clock = clock
        self._jitter = jitter
        self._keepers: dict[str, Keeper] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, wave: Sequence[Process]) -> None:
        """Start processes together and wait until those that aren't slow are ready.

        Raises:
            ServiceFailedError: one of them can't start.
        """
        keepers = [self._keep(process) for process in wave]
        await asyncio.gather(*(keeper.first_ready for keeper in keepers if not keeper.process.slow))

    def _keep(self, process: Process) -> Keeper:
        keeper = Keeper(
            process,
            log=Log(self._logs / f"{process.name}.log"),
            show=self._display.show,
            started=self._changed,
            clock=self._clock,
            jitter=self._jitter,
        )
        self._keepers[process.name] = keeper
        self._tasks[process.name] = asyncio.create_task(keeper.run(), name=f"keep {process.name}")
        return keeper

    async def complete(self) -> None:
        """Wait until the slow starters are ready too.

        Raises:
            ServiceFailedError: one of them can't start.
        """
        await asyncio.gather(*(keeper.first_ready for keeper in self._keepers.values()))

    async def supervise(self, until: asyncio.Event) -> None:
        """Keep all alive until the event is set; an error of the supervisor itself ends it."""
        stop = asyncio.create_task(until.wait())
        waiting = {stop, *self._tasks.values()}
        try:
            while not stop.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stop.cancel()

    async def drain(self) -> None:
        """Stop all, wave by wave; what does not end in its time is killed."""
        for wave in drain_waves([keeper.process for keeper in self._keepers.values()]):
            await asyncio.gather(*(self._keepers[process.name].stop() for process in wave))
            for process in wave:
                await self._ended(process)
        self._keepers.clear()
        self._tasks.clear()

    async def _ended(self, process: Process) -> None:
        """Wait for a process's keeper; an error of its own may not keep the others from draining."""
        try:
            await self._tasks[process.name]
        except Exception as error:  # noqa: BLE001 - shown; `start` or `supervise` has raised it
            self._display.show(Row(process.name, State.FAILED, str(error)))

    def kill(self) -> None:
        """End all at once; `drain` then has nothing left to wait for."""
        for keeper in self._keepers.values():
            keeper.kill()
            self._display.show(Row(keeper.process.name, State.STOPPING, "killed"))

    def children(self) -> dict[str, tuple[int, float]]:
        """Return process id and start time of each running process, by name."""
        return {
            name: (child.pid, child.started_at) for name, keeper in self._keepers.items() if (child := keeper.child)
        }

    def ready_times(self) -> dict[str, float]:
        """Return the seconds that each process took until it was first ready, by name."""
        return {
            name: keeper.first_ready.result()
            for name, keeper in self._keepers.items()
            if keeper.first_ready.done() and not keeper.first_ready.cancelled() and not keeper.first_ready.exception()
        }
