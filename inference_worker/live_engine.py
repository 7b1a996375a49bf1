"""The engine on a thread of its own, with an asyncio face: decoding holds the core, while the loop moves bytes.

PyTorch releases the interpreter's lock within its operators, so the loop runs beside them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING

import structlog

from inference_worker.serving import gathered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from inference_worker.engine import Engine
    from inference_worker.scheduled import Output, Scheduled

    Command = Callable[[Engine], Output | None]

_log = structlog.get_logger()


class LiveEngine:
    """Runs an engine as long as there is something to do."""

    def __init__(self, engine: Engine, now: Callable[[], int]) -> None:
        """Wrap an engine; nobody else may use it from now on.

        Args:
            engine: the engine.
            now: the time in ms since the epoch.
        """
        self._engine = engine
        self._now = now
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._outputs: dict[str, asyncio.Queue[Output]] = {}
        self._loop = asyncio.get_running_loop()
        self.crashed: asyncio.Future[BaseException] = self._loop.create_future()
        """Done when the engine can't go on, with why."""
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    async def stop(self) -> None:
        """Stop after the step that runs now."""
        self._commands.put(None)
        await asyncio.to_thread(self._thread.join)

    async def run(self, request: Scheduled) -> AsyncGenerator[list[Output], None]:
        """Run a sequence; yield what came since the last time, until its end. Closing it lets the sequence go."""
        outputs = self._outputs[request.id] = asyncio.Queue()

        def add(engine: Engine) -> None:
            engine.add(request)

        def drop(engine: Engine) -> None:
            engine.drop(request.id)

        self._commands.put(add)
        try:
            while True:
                batch = await gathered(outputs)
                yield batch
                if batch[-1].finish:
                    return
        finally:
            del self._outputs[request.id]
            self._commands.put(drop)

    def cancel(self, request_id: str) -> None:
        """End a sequence where it stands; its last output says so."""
        self._commands.put(lambda engine: engine.cancel(request_id))

    def _work(self) -> None:
        try:
            while self._obey():
                try:
                    outputs = self._engine.step(self._now())
                except Exception:
                    _log.exception("engine.step_failed")
                    outputs = self._engine.fail()
                    if not outputs:
                        raise  # not the fault of what ran
                self._deliver(outputs)
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: the worker must hear of it
            self._loop.call_soon_threadsafe(self.crashed.set_result, error)

    def _obey(self) -> bool:
        """Do what was asked for, waiting for it where there is nothing else to do; False when it is to stop."""
        while True:
            try:
                command = self._commands.get(block=self._engine.idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            if output := command(self._engine):
                self._deliver([output])

    def _deliver(self, outputs: list[Output]) -> None:
        if outputs:
            self._loop.call_soon_threadsafe(self._hand_out, outputs)

    def _hand_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            if waiting := self._outputs.get(output.id):
                waiting.put_nowait(output)
