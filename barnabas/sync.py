"""The Python client without `await`: the asyncio client, run on a thread of its own.

    with SyncClient() as client:
        result = client.result(client.submit("cron.parse", {"expression": "*/5 * * * *"}))

Safe to use from many threads at once.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from barnabas.client import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from barnabas.answer import Answer
    from barnabas.replies import (
        Blob,
        DeadLetter,
        Event,
        Fire,
        Gap,
        Kind,
        Readiness,
        Receipt,
        Result,
        Schedule,
        State,
        Tokens,
    )

T = TypeVar("T")


class _Loop:
    """An event loop on a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="barnabas client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end; an interrupt of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[T]) -> Generator[T]:
        """Yield what an async iterator yields, and close it where the caller stops."""
        end = object()

        async def step() -> T | object:
            return await anext(source, end)

        try:
            while (item := self.run(step())) is not end:
                yield item  # type: ignore[misc] # it is not `end`
        finally:
            self.run(_close(source))

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _close(source: object) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


class SyncAnswer:
    """An answer of the model while it comes: iterate over it for the text."""

    def __init__(self, loop: _Loop, answer: Answer) -> None:
        self._loop = loop
        self._answer = answer

    def __iter__(self) -> Iterator[str]:
        """Yield the text piece by piece; errors are those of `barnabas.answer.Answer`."""
        return self._loop.iterate(aiter(self._answer))

    @property
    def receipt(self) -> Receipt:
        """Where the request lies; known once the first piece came."""
        return self._answer.receipt

    @property
    def result(self) -> Result:
        """How it ended; known once the loop is over."""
        return self._answer.result


class SyncClient:
    """A client of the edge; arguments, results and errors are those of `barnabas.Client`."""

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0, patience: float = 30.0
    ) -> None:
        self._client = Client(url, api_key, timeout=timeout, patience=patience)
        self._loop = _Loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; what was submitted goes on."""
        self._loop.run(self._client.close())
        self._loop.stop()

    def submit(self, kind: str, payload: Mapping[str, Any] | None = None, **more: Any) -> Receipt:
        """Hand in a task; see `Client.submit`."""
        return self._loop.run(self._client.submit(kind, payload, **more))

    def upload(self, source: Path | bytes) -> Blob:
        """Upload a file or bytes; see `Client.upload`."""
        return self._loop.run(self._client.upload(source))

    def download(self, ref: str) -> bytes:
        """Return the bytes of a blob; see `Client.download`."""
        return self._loop.run(self._client.download(ref))

    def result(self, task: Receipt | str, *, timeout: float | None = None) -> Result:
        """Wait until a task has ended; see `Client.result`."""
        return self._loop.run(self._client.result(task, timeout=timeout))

    def stream(self, prompt: str | Sequence[Mapping[str, str]], **more: Any) -> SyncAnswer:
        """Ask the model, and get the text as it comes; see `Client.stream`."""
        return SyncAnswer(self._loop, self._client.stream(prompt, **more))

    def ask(self, prompt: str | Sequence[Mapping[str, str]], **more: Any) -> str:
        """Ask the model and return the whole answer; see `Client.ask`."""
        return self._loop.run(self._client.ask(prompt, **more))

    def events(self, task: Receipt | str | None = None, **more: Any) -> Iterator[Event | Tokens | Gap]:
        """Yield what happens; see `Client.events`."""
        return self._loop.iterate(self._client.events(task, **more))

    def state(self, task: Receipt | str) -> State:
        """Return a task as it is now; see `Client.state`."""
        return self._loop.run(self._client.state(task))

    def cancel(self, task: Receipt | str) -> State:
        """Cancel a task; see `Client.cancel`."""
        return self._loop.run(self._client.cancel(task))

    def schedule(self, kind: str, payload: Mapping[str, Any], **more: Any) -> Schedule:
        """Make a task later, or again and again; see `Client.schedule`."""
        return self._loop.run(self._client.schedule(kind, payload, **more))

    def schedule_state(self, schedule: Schedule | str) -> Schedule:
        """Return a schedule with its fires; see `Client.schedule_state`."""
        return self._loop.run(self._client.schedule_state(schedule))

    def schedules(self) -> Iterator[Schedule]:
        """Yield one's schedules that are still to fire; see `Client.schedules`."""
        return self._loop.iterate(self._client.schedules())

    def schedule_history(self, schedule: Schedule | str) -> Iterator[Fire]:
        """Yield what became of a schedule's slots; see `Client.schedule_history`."""
        return self._loop.iterate(self._client.schedule_history(schedule))

    def pause_schedule(self, schedule: Schedule | str) -> Schedule:
        """Let a schedule fire no more; see `Client.pause_schedule`."""
        return self._loop.run(self._client.pause_schedule(schedule))

    def resume_schedule(self, schedule: Schedule | str) -> Schedule:
        """Let a schedule fire again; see `Client.resume_schedule`."""
        return self._loop.run(self._client.resume_schedule(schedule))

    def unschedule(self, schedule: Schedule | str) -> None:
        """Remove a schedule; see `Client.unschedule`."""
        self._loop.run(self._client.unschedule(schedule))

    def dead_letters(self, **wanted: Any) -> Iterator[DeadLetter]:
        """Yield one's dead letters, the newest first; see `Client.dead_letters`."""
        return self._loop.iterate(self._client.dead_letters(**wanted))

    def dead_letter(self, letter: DeadLetter | str) -> DeadLetter:
        """Return a dead letter with what it carries; see `Client.dead_letter`."""
        return self._loop.run(self._client.dead_letter(letter))

    def replay(self, letter: DeadLetter | str, *, once: bool = False) -> Receipt:
        """Hand a dead letter's task in again; see `Client.replay`."""
        return self._loop.run(self._client.replay(letter, once=once))

    def drop(self, letter: DeadLetter | str) -> None:
        """Put a dead letter aside for good; see `Client.drop`."""
        self._loop.run(self._client.drop(letter))

    def kinds(self) -> list[Kind]:
        """Return the kinds of tasks that somebody serves; see `Client.kinds`."""
        return self._loop.run(self._client.kinds())

    def ready(self) -> Readiness:
        """Return whether the edge serves, and who else is there; see `Client.ready`."""
        return self._loop.run(self._client.ready())
