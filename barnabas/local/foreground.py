"""A stack in the foreground: started, kept until Ctrl-C or an event, and drained."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from barnabas.local.display import Display, Silent
from barnabas.local.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator

    from backbone.settings import Settings


async def up(
    settings: Settings,
    *,
    until: asyncio.Event | None = None,
    on_ready: Callable[[LocalStack], Awaitable[None]] | None = None,
    display: Display | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Start a stack and keep it until the event is set or a signal comes; then drain it.

    SIGINT or SIGTERM sets the event; a second one ends all processes at once.

    Args:
        settings: the settings.
        until: ends it; of its own by default.
        on_ready: called with the stack once it is ready, and cancelled when the stack is to stop.
        display: is shown what happens.
        only: names of the processes to start; all by default.

    Raises:
        LocalStackError: it could not start; see `LocalStack.start`.
    """
    until = until or asyncio.Event()
    display = display or Silent()
    stack = LocalStack(settings, only=only, display=display)
    with display, _signals(until, stack):
        if not await _unless(until, stack.start()):
            return
        try:
            if on_ready:
                await _unless(until, _call(on_ready, stack))
            await stack.supervise(until)
        finally:
            await stack.stop()


async def _call(hook: Callable[[LocalStack], Awaitable[None]], stack: LocalStack) -> None:
    await hook(stack)


async def _unless(until: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do the work, or cancel it when the event is set first; return whether it was done."""
    task = asyncio.create_task(work)
    asked = asyncio.create_task(until.wait())
    try:
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        return task.done()
    finally:
        task.cancel()
        asked.cancel()
        await asyncio.gather(task, asked, return_exceptions=True)


@contextmanager
def _signals(until: asyncio.Event, stack: LocalStack) -> Iterator[None]:
    def asked() -> None:
        if until.is_set():
            stack.kill()
        until.set()

    loop = asyncio.get_running_loop()
    both = (signal.SIGINT, signal.SIGTERM)
    for number in both:
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in both:
            loop.remove_signal_handler(number)
