"""A service as a process."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.barnabas.tools import Cable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backbone.settings import Settings

SERVICE = """
import asyncio, sys, threading
from backbone import service

service.DRAIN_MARGIN = 0.1

class Some:
    async def start(self):
        print("started", flush=True)

    async def stop(self):
        {stop}

    async def crashed(self):
        await asyncio.Event().wait()

sys.exit(service.run("some", lambda settings, readiness: Some()))
"""
# As a library's thread may be that waits for a broker.
STUCK = "threading.Thread(target=threading.Event().wait).start(); await asyncio.Event().wait()"


@asynccontextmanager
async def process(stop: str, home: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE.format(stop=stop)),
        env={**os.environ, "BARNABAS_HOME": str(home), "BARNABAS_REDIS_URL": "unix://nowhere", **environ},
        stdout=pipe,
        stderr=pipe,
    )
    try:
        async with asyncio.timeout(90):
            yield started
    finally:
        if started.returncode is None:
            started.kill()


@pytest.mark.slow
async def test_a_drain_that_does_not_come_to_its_end_is_ended(tmp_path):
    quick = {"BARNABAS_CREATE_TOPICS": "false", "BARNABAS_HANDLER_TIMEOUT": "PT0.1S"}
    async with process(STUCK, tmp_path, **quick) as stuck:
        assert await stuck.stdout.readline() == b"started\n"
        stuck.terminate()
        _, said = await stuck.communicate()
    assert stuck.returncode == 1
    assert b"service.drain_overdue" in said


async def test_a_kafka_that_is_away_at_first_is_waited_for(settings: Settings, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with process("pass", tmp_path, BARNABAS_KAFKA_BOOTSTRAP=f"127.0.0.1:{port}") as waits:
        while b"service.waits" not in (line := await waits.stderr.readline()):
            assert line, "it ended"
        async with Cable(int(settings.kafka_bootstrap.rpartition(":")[2])).plugged(port):
            assert await waits.stdout.readline() == b"started\n"
        waits.terminate()
        await waits.communicate()
    assert waits.returncode == 0


@pytest.mark.slow
async def test_one_that_waits_for_kafka_ends_when_it_is_told_to(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with process("pass", tmp_path, BARNABAS_KAFKA_BOOTSTRAP=f"127.0.0.1:{port}") as waits:
            while b"service.waits" not in (line := await waits.stderr.readline()):
                assert line, "it ended"
            waits.terminate()
            await waits.communicate()
    assert waits.returncode == 0
