"""CPU-bound work in processes that can be killed: a thread can't be, and one that holds the GIL stops its whole tier.

A worker is a pebble pool of one process, made when it is first needed. Whoever awaits `Share` and is cancelled, at the
end of its time or by its owner, has its process killed at once; the next call gets a new one. What runs there is a
module-level function with picklable arguments, and a worker imports only what such functions import.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import pickle
import resource
import signal
import sys
import traceback
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pebble import ProcessExpired, ProcessPool

from streams.errors import HandlerDiedError, HandlerMemoryError, ResultTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

A = TypeVar("A")

TASKS = 500
"""Calls after which a worker is replaced, so that what libraries leak is given back."""
LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes of a pickled answer: the memory ceiling is the worker's, and the tier must not choke on what one made."""
_OUT_OF_MEMORY = errno.ENOMEM
"""Exit status of a worker that reached its ceiling."""
_PR_SET_PDEATHSIG = 1


class ComputePool:
    """The workers of a tier.

    Args:
        workers: how many processes may run at once.
        memory_mb: ceiling of each one's private memory in MiB.
    """

    def __init__(self, workers: int, memory_mb: int) -> None:
        self._workers = [_Worker(memory_mb * 2**20) for _ in range(workers)]
        # The one that worked last comes first: it is warm, and those that are never needed never start.
        self._free: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._free.put_nowait(worker)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[_Worker]:
        """Wait until a worker is free, and have it to oneself."""
        worker = await self._free.get()
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)

    async def close(self) -> None:
        """Kill every worker, and return when none is left."""
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*(end for worker in self._workers for end in worker.ending))


@dataclass(slots=True)
class Share:
    """One task's use of the pool: the `compute` of its context.

    Attributes:
        pool: where the work runs.
        killed: whether a worker was at work when the task was cancelled, so that CPU is what its time went to. Where
            the task only waited for a worker, others' work was.
    """

    pool: ComputePool
    killed: bool = False

    async def __call__(self, function: Callable[..., A], *args: Any) -> A:
        """Run `function(*args)` in a worker.

        Raises:
            HandlerMemoryError: it wanted more memory than a worker may have.
            HandlerDiedError: the worker died of something else.
            ResultTooLargeError: its answer is larger than `LARGEST_ANSWER`.
            Exception: what the function raised.
        """
        call = pickle.dumps((function, args))
        async with self.pool.worker() as worker:
            try:
                answer: A = await worker.run(call)
            except asyncio.CancelledError:
                self.killed = True
                raise
            return answer


@dataclass(slots=True)
class _Worker:
    """A process: made when first needed, and again after its end."""

    memory: int
    ending: set[asyncio.Task[None]] = field(default_factory=set)
    _pool: ProcessPool | None = None
    _context: _Context | None = None

    async def run(self, call: bytes) -> Any:
        """Return what the pickled call returns, or raise what it raises; the worker dies with its caller's patience."""
        pool = self._opened()
        try:
            # Shielded, for pebble would kill only at its next look; and a future that is cancelled as its result comes
            # in ends pebble's thread.
            answer = await asyncio.shield(asyncio.wrap_future(pool.schedule(_job, (call,))))
        except asyncio.CancelledError:
            self.kill()
            raise
        except ProcessExpired as error:
            self.kill()
            raise self._death(error.exitcode) from None
        except BrokenProcessPool:
            # Its process died before pebble heard that it began, and none was put in its place.
            made = self._context.made if self._context else None
            self.kill()
            raise self._death(made.exitcode if made else None) from None
        result, raised = pickle.loads(answer)  # noqa: S301 - our own process wrote it
        if raised is not None:
            raise raised
        return result

    def _death(self, status: int | None) -> HandlerMemoryError | HandlerDiedError:
        if status == _OUT_OF_MEMORY:
            return HandlerMemoryError(f"it wanted more than the {self.memory >> 20} MiB that it may have")
        return HandlerDiedError(f"the process that did it ended with status {status}")

    def _opened(self) -> ProcessPool:
        if self._pool is not None and not self._pool.active:
            self.kill()  # its process died while it had nothing to do
        if self._pool is None:
            self._context = _Context()
            self._pool = ProcessPool(1, TASKS, _begin, (self.memory, os.getpid()), self._context)
        return self._pool

    def kill(self) -> None:
        """Kill the process, if there is one; what pebble kept around it ends in the background."""
        pool, context = self._pool, self._context
        self._pool = self._context = None
        if pool is None or context is None:
            return
        pool.stop()  # type: ignore[no-untyped-call]  # first, or pebble would put another in its place
        if context.made is not None and context.made.pid is not None:  # one that only begins is ended by `join`
            context.made.kill()
        end = asyncio.create_task(asyncio.to_thread(pool.join))
        self.ending.add(end)
        end.add_done_callback(self.ending.discard)


class _Context(SpawnContext):
    """Starts processes from nothing, as a fork of a process with threads may not go well; knows the latest."""

    made: SpawnProcess | None = None

    def Process(self, **how: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802 - a class, where pebble asks
        self.made = SpawnProcess(**how)
        return self.made


# What follows runs in the worker.


def _begin(memory: int, parent: int) -> None:
    """Set the worker's bounds; it has its parent's scheduling class already."""
    # Pebble's own handler of SIGTERM is Python, and waits for the C code that is to be ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before it could be watched
    # Private writable memory. RLIMIT_AS counts what is only reserved as well: 64 MiB of address space for each arena
    # of the allocator, and the libraries' text, so that its number would say little about memory.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    # Libraries log what they read, which is a user's payload.
    logging.disable()


def _job(call: bytes) -> bytes:
    """Return a call's pickled result and exception, one of them None.

    Both are pickled here, because pebble gives the whole pool up for one that can't be.
    """
    try:
        function, args = pickle.loads(call)  # noqa: S301 - our own process wrote it
        return _returned(function(*args))
    except MemoryError:
        _out_of_memory()
    except BaseException as error:  # noqa: BLE001 - a SystemExit, too, is the call's and not the tier's
        return _raised(error)


def _returned(result: Any) -> bytes:
    answer = pickle.dumps((result, None))
    if len(answer) > LARGEST_ANSWER:
        raise ResultTooLargeError(f"{len(answer)} bytes; at most {LARGEST_ANSWER} may be made of one payload")
    return answer


def _out_of_memory() -> NoReturn:
    # What is left of the heap after that is no place for the next call.
    os._exit(_OUT_OF_MEMORY)


def _raised(error: BaseException) -> bytes:
    """Return an exception pickled with its traceback as a note; one that can't be is told in words."""
    told = "".join(traceback.format_exception(error))
    try:
        error.add_note(told)
        answer = pickle.dumps((None, error))
        if isinstance(pickle.loads(answer)[1], Exception):  # noqa: S301 - written in the line above
            return answer
    except Exception:  # noqa: BLE001, S110 - whatever its class does wrong, the words below stand for it
        pass
    stand_in = RuntimeError(f"{type(error).__name__}: {error}")
    stand_in.add_note(told)
    return pickle.dumps((None, stand_in))
