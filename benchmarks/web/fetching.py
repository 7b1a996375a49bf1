"""The guarded connector beside bare httpx, against a server that is a process of its own: one request after the other."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import httpx

from backbone.net import Connector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


class Times(NamedTuple):
    """Milliseconds of each request, a list a round."""

    ours: list[list[float]]
    peer: list[list[float]]


def fetch(rounds: int, requests: int) -> Times:
    """Return how long requests took, rounds of both sides by turns."""
    with _server() as port:
        return asyncio.run(_fetch(port, rounds, requests))


async def _fetch(port: int, rounds: int, requests: int) -> Times:
    url = f"http://127.0.0.1:{port}/"
    connector = Connector((f"127.0.0.1/32:{port}",), user_agent="benchmark")
    times = Times([], [])
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(rounds):
                times.ours.append(await _timed(lambda: connector.request("GET", url), requests))
                times.peer.append(await _timed(lambda: client.get(url), requests))
    finally:
        await connector.aclose()
    return times


async def _timed(request: Callable[[], Awaitable[object]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await request()
        times.append((time.perf_counter() - began) * 1000)
    return times


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.web.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the server has no pipes")
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
