"""Keeps one process alive: starts it, waits until it is ready, and starts it again when it ends or is stuck.

The decisions are `lifecycle`'s; here they meet a real process. A process that ends several times without ever having
been ready can't start at all: that is an error with the last lines of its log. Only a slow starter, which the others
do without, is tried again then, after long waits.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, NamedTuple

from barnabas.errors import ServiceFailedError
from barnabas.local.child import Child
from barnabas.local.display import Row, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from barnabas.local.log import Log
    from barnabas.local.processes import Process

POLL = 0.1
"""Seconds between two questions whether a process is ready."""


class _Run(NamedTuple):
    """One run of the program: for how many seconds it served, how it ended, and whether to try again is in vain."""

    served: float
    reason: str
    hopeless: bool = False


class Keeper:
    """The life of one process.

    Attributes:
        process: its row in the table.
        child: the running program, if any.
        first_ready: done once it was ready for the first time, with the seconds that took; or ServiceFailedError.
    """

    def __init__(
        self,
        process: Process,
        *,
        log: Log,
        show: Callable[[Row], None],
        started: Callable[[], None],
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.process = process
        self.child: Child | None = None
        self.first_ready: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        # A slow starter's failure is shown, and may interest nobody else.
        self.first_ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self._log = log
        self._show = show
        self._started = started
        self._clock = clock
        self._jitter = jitter
        self._stopping = asyncio.Event()
        self._was_ready = False

    async def run(self) -> None:
        """Keep the process alive until `stop`, or until it is clear that it can't start."""
        try:
            await self._keep()
        except Exception as error:
            if not self.first_ready.done():
                self.first_ready.set_exception(error)
            raise

    async def _keep(self) -> None:
        began = self._clock()
        failures = 0
        while not self._stopping.is_set():
            run = await self._once(began)
            if self._stopping.is_set():
                break
            failures = self.process.restart.failures(failures, run.served)
            if not self.first_ready.done() and (run.hopeless or failures >= self.process.restart.tries):
                self._give_up(run.reason, failures)
                if not self.process.slow:
                    return
                failures = 1
            state, delay, said = self._next_try(failures)
            self._show(Row(self.process.name, state, f"{run.reason}; again in {delay:.1f} s{said}"))
            await _wait(self._stopping, delay)
        self._show(Row(self.process.name, State.STOPPED))
        self.first_ready.cancel()

    def _next_try(self, failures: int) -> tuple[State, float, str]:
        """Return how a process that ended is shown, the seconds until it is started again, and what it said last."""
        if self._was_ready or not self.first_ready.done():
            return State.RESTARTING, self.process.restart.delay(failures, self._jitter()), ""
        said = self._log.last_lines(1)
        return State.FAILED, self.process.retry.delay(failures, self._jitter()), f": {said}" if said else ""

    async def stop(self) -> None:
        """Ask the process to end, make it after its drain timeout, and keep it no longer."""
        self._stopping.set()
        if self.child:
            self._show(Row(self.process.name, State.STOPPING))
            limit = self.process.drain_timeout
            if not await self.child.stop(limit):
                self._show(Row(self.process.name, State.STOPPING, f"did not end in {limit:.0f} s: killed"))

    def kill(self) -> None:
        """End the process now, and keep it no longer."""
        self._stopping.set()
        if self.child:
            self.child.kill()

    async def _once(self, began: float) -> _Run:
        """Run the program once, from its start to its end."""
        self._show(Row(self.process.name, State.STARTING))
        self.child = child = await Child.start(self.process.command, self.process.env, self._log)
        self._started()
        if self._stopping.is_set():  # it was told to stop while it was being started
            child.kill()
        ended = asyncio.create_task(child.wait())
        ready = asyncio.create_task(self._until_ready())
        limit = self.process.start_timeout
        try:
            await asyncio.wait({ended, ready}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return _Run(0.0, _told(ended.result()))
            if not ready.done():
                child.kill()
                await ended
                return _Run(0.0, f"was not ready in {limit:.0f} s", hopeless=True)
            ready.result()
            served_from = self._clock()
            self._is_ready(served_from - began)
            stuck = await self._serving(child, ended)
            return _Run(self._clock() - served_from, stuck or _told(ended.result()))
        finally:
            ready.cancel()
            if not ended.done():  # an error of the keeper's own leaves nothing behind
                child.kill()
                await ended
            self.child = None

    async def _serving(self, child: Child, ended: asyncio.Task[int]) -> str | None:
        """Wait until it has ended; if it was stuck and had to be killed, return that in words."""
        silence = asyncio.create_task(self._until_stuck())
        try:
            await asyncio.wait({ended, silence}, return_when=asyncio.FIRST_COMPLETED)
            # Who drains has its own limit, and may have closed its port.
            if ended.done() or self._stopping.is_set():
                await ended
                return None
            silence.result()
            patience = self.process.patience
            reason = f"gave no sign of life {patience.silences} times, {patience.every:g} s apart, and was killed"
            self._log.write(f"[{self.process.name} {reason}]\n".encode())
            child.kill()
            await ended
            return reason
        finally:
            silence.cancel()

    async def _until_stuck(self) -> None:
        """Ask for signs of life until there were none for too long."""
        patience = self.process.patience
        silent = 0
        while not patience.is_out(silent):
            await asyncio.sleep(patience.every)
            silent = patience.silent(silent, alive=await self.process.probe.alive())

    def _is_ready(self, seconds: float) -> None:
        self._was_ready = True
        if self.first_ready.done():
            self._show(Row(self.process.name, State.READY))
        else:
            self._show(Row(self.process.name, State.READY, seconds=seconds))
            self.first_ready.set_result(seconds)

    async def _until_ready(self) -> None:
        said = ""
        while not (health := await self.process.probe.check()).ready:
            if health.detail != said and not self._stopping.is_set():
                said = health.detail
                self._show(Row(self.process.name, State.STARTING, said))
            await asyncio.sleep(POLL)

    def _give_up(self, reason: str, failures: int) -> None:
        times = f", {failures} times in a row" if failures > 1 else ""
        error = ServiceFailedError(
            f"{self.process.name} could not start: it {reason}{times}. "
            f"The last lines of {self._log.path}:\n{self._log.last_lines()}"
        )
        if not self.process.slow:
            self._show(Row(self.process.name, State.FAILED, error.message.partition("\n")[0]))
        self.first_ready.set_exception(error)


def _told(status: int) -> str:
    """Return in words how a process ended."""
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
