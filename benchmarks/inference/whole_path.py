"""The whole path, as people use it: a task submitted on the WebSocket, and its tokens as they come back on it.

In between are the edge, Kafka, the worker with its log of tokens and its outcomes in Valkey, Kafka again, and the edge.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from barnabas.local.processes import WORKER
from benchmarks.inference.asking import Ask, Heard, Way, prompt
from benchmarks.inference.server import pss_mb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.local.stack import LocalStack

KIND: Final = "llm.complete"
ENDED: Final = frozenset({"succeeded", "failed", "expired", "cancelled"})


class _Frame(msgspec.Struct):
    type: str
    count: int = 0
    status: str = ""
    result: Any = None
    message: str = ""


_frame = msgspec.json.Decoder(_Frame)


class WholePath(Way):
    """Asks a local stack, a connection for each stream."""

    name = "Barnabas, whole path"

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._connections: asyncio.LifoQueue[ClientConnection] = asyncio.LifoQueue()

    @asynccontextmanager
    async def serving(self, streams: int) -> AsyncIterator[None]:
        """Hold as many connections open as there are streams; the stack runs all the time."""
        key = self._stack.settings.api_key_path.read_text().strip()
        url = f"ws{(self._stack.edge_url or '').removeprefix('http')}/v1/ws"
        async with AsyncExitStack() as opened:
            for _ in range(streams):
                connection = connect(url, additional_headers={"Authorization": f"Bearer {key}"}, compression=None)
                self._connections.put_nowait(await opened.enter_async_context(connection))
            try:
                await self.ask(Ask(prompt(Random(0)), 1))
                yield
            finally:
                self._connections = asyncio.LifoQueue()

    async def ask(self, wish: Ask) -> Heard:
        """Submit, and hear the task to its end; a connection is to be free."""
        connection = self._connections.get_nowait()
        try:
            return await self._ask(connection, wish)
        finally:
            self._connections.put_nowait(connection)

    def pss_mb(self) -> float:
        """Return the worker's."""
        pid = self._stack.pid(WORKER)
        if pid is None:
            raise RuntimeError("the inference worker does not run")
        return pss_mb(pid)

    async def _ask(self, connection: ClientConnection, wish: Ask) -> Heard:
        asked = time.perf_counter()
        first = last = 0.0
        tokens = 0
        payload = {"prompt": wish.prompt, "max_tokens": wish.tokens, "ignore_eos": True, "temperature": 0}
        submit = {"type": "submit", "kind": KIND, "payload": payload, "tier": wish.tier}
        await connection.send(msgspec.json.encode(submit), text=True)
        async for data in connection:
            frame = _frame.decode(data)
            if frame.count:
                last = time.perf_counter()
                first = first or last
                tokens += frame.count
            if frame.type == "error" or frame.status in ENDED - {"succeeded"}:
                raise RuntimeError(f"{self.name}: {frame.status} {frame.message}")
            if frame.status == "succeeded":
                self.check(wish, prompt=frame.result["usage"]["prompt_tokens"], answer=tokens)
                return Heard(asked, first, last, tokens)
        raise RuntimeError(f"{self.name} broke off")
