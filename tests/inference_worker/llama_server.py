"""A real server of a real model: llama.cpp's, as the wheel `xllamacpp` has it, in a process that can be killed.

`python -m tests.inference_worker.llama_server MODEL PORT KEY` runs it; MODEL is a file, and its name is `small`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Self

import httpx

from inference_worker.models.catalog import source
from tests.support import until

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
NAME = "small"
KEY = "a-key-of-tests"
CONTEXT = 2048
STREAMS = 4


class LlamaServer:
    """The process; started again it has the same address."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        with socket.create_server((HOST, 0)) as listener:
            self._port = int(listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        model = str(source("smollm2-135m-instruct").file)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.inference_worker.llama_server", model, str(self._port), KEY),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        async with httpx.AsyncClient() as client:

            async def healthy() -> bool:
                assert self._process
                assert self._process.returncode is None, self._log.read_text()[-2000:]
                try:
                    return (await client.get(f"http://{HOST}:{self._port}/health", timeout=5)).status_code == 200
                except httpx.HTTPError:
                    return False

            await until(healthy, limit=120)

    async def kill(self) -> None:
        """Kill it where it stands."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def main(model: str, port: str, key: str) -> None:
    """Serve until a signal comes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = model, {NAME}
    params.hostnames, params.port, params.api_keys = [HOST], int(port), [key]
    params.n_parallel, params.n_ctx = STREAMS, STREAMS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    assert server.listening_address
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
