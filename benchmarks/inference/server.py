"""A server that answers `POST /completion` with server-sent events, as llama.cpp's does: its process, and its client.

The client is the same for all, and light: what it costs is taken from the cores that are measured.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from benchmarks.dispatch.system import Worker
from benchmarks.inference.asking import Ask, Heard, Way, prompt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 180.0
POLL_SECONDS = 0.01
LARGEST_READ = 65_536


class Piece(msgspec.Struct):
    """An event of the answer; the last one has `stop` and the numbers."""

    tokens: list[int]
    stop: bool
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    engine_ms: float | None = None


_piece = msgspec.json.Decoder(Piece)


class Server(Way):
    """A process that serves one model over HTTP."""

    def __init__(
        self, name: str, command: Callable[[int, int], Sequence[str]], environment: Mapping[str, str], log: Path
    ) -> None:
        """Make a server that is not started yet.

        Args:
            name: for the report.
            command: of its process, from the port and the number of streams.
            environment: what is added to this process's own.
            log: gets what it writes.
        """
        self.name = name
        self._command = command
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._environment = {**os.environ, **path, **environment}
        self._log = log
        self._port = 0
        self._process: Worker | None = None

    @asynccontextmanager
    async def serving(self, streams: int, environment: Mapping[str, str] | None = None) -> AsyncIterator[float]:
        """Run its process.

        Args:
            streams: how many are to be answered at once.
            environment: what it is given this time.
        """
        began = time.perf_counter()
        self._port = _free_port()
        self._process = Worker(
            self._command(self._port, streams), {**self._environment, **(environment or {})}, self._log
        )
        try:
            await self._ready(self._process)
            heard = await self.ask(Ask(prompt(Random(0)), 1))
            yield heard.first - began
            self._process.stop()
        finally:
            self._process.close()

    async def ask(self, wish: Ask) -> Heard:
        """Ask over a connection of its own."""
        asked = time.perf_counter()
        first = last = 0.0
        body = msgspec.json.encode(_body(wish))
        head = f"POST /completion HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            writer.write(head.encode() + body)
            async for piece in _pieces(reader):
                if piece.tokens:
                    last = time.perf_counter()
                    first = first or last
                if piece.stop:
                    self.check(wish, prompt=piece.tokens_evaluated, answer=piece.tokens_predicted)
                    return Heard(asked, first, last, piece.tokens_predicted, piece.engine_ms)
        finally:
            writer.close()
        raise RuntimeError(f"{self.name} broke off")

    def pss_mb(self) -> float:
        """Return its process's."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return pss_mb(self._process.pid)

    async def _ready(self, process: Worker) -> None:
        end = time.perf_counter() + START_SECONDS
        while not await self._healthy():
            process.check()
            if time.perf_counter() > end:
                raise TimeoutError(f"{self.name} did not get ready")
            await asyncio.sleep(POLL_SECONDS)

    async def _healthy(self) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, self._port)
            writer.write(f"GET /health HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            line = await reader.readline()
            writer.close()
            return b" 200 " in line
        return False


def pss_mb(pid: int) -> float:
    """Return a process's proportional set size in MB (10^6 bytes)."""
    return float(psutil.Process(pid).memory_full_info().pss) / 1e6


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[Piece]:
    """Read events: each is a line of its own within the chunks of the body, whose sizes are lines as well."""
    rest = b""
    while data := await reader.read(LARGEST_READ):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                yield _piece.decode(line[6:])


def _body(wish: Ask) -> dict[str, Any]:
    """Return what llama.cpp calls a completion: greedy, without its cache of prompts; ours takes tiers beside."""
    return {
        "prompt": wish.prompt,
        "n_predict": wish.tokens,
        "ignore_eos": True,
        "stream": True,
        "cache_prompt": False,
        "samplers": ["top_k"],
        "top_k": 1,
        "tier": wish.tier,
    }


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
