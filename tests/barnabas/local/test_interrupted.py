"""Ctrl-C, and worse, in the middle of what takes long at a first start: the download and the model's conversion.

The download's fetch stops in the middle of each jar until it may go on, and needs no network; all else of it is real.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from barnabas.local.jars import kafka_classpath
from barnabas.local.ports import FREE_PORTS
from inference_worker.models import files
from tests.barnabas.local.test_jars import JARS, PATHS, Fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from backbone.settings import Settings

pytestmark = pytest.mark.slow

LIMIT = 60.0

STARTING = """
import asyncio, sys, time
from functools import partial
from pathlib import Path
from backbone.settings import Settings
from barnabas.local import foreground, jars, stack
from barnabas.local.ports import FREE_PORTS

JARS = {jars!r}

def halting(path, folder):
    jar = folder / path
    jar.parent.mkdir(parents=True, exist_ok=True)
    with jar.open("wb", buffering=0) as file:
        file.write(path[:9].encode())
        while not path.endswith("lib0-1.0.jar") and not Path(sys.argv[1], "goes-on").exists():
            time.sleep(0.01)
        file.write(path[9:].encode())
    return jar

stack.kafka_classpath = partial(jars.kafka_classpath, jars=JARS, fetch=halting)
settings = Settings(home=Path(sys.argv[1], "home"), cache=Path(sys.argv[1], "cache"), **FREE_PORTS)
asyncio.run(foreground.up(settings, only=("kafka",)))
"""


async def until(true: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.02)


def _of_home(home: Path) -> list[int]:
    """Return the processes that were told of a home."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(home) in " ".join(process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_download_that_is_cut_off_leaves_nothing_half_and_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    repository, staging = tmp_path / "cache" / "maven", tmp_path / "cache" / "maven.part"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTING.format(jars=JARS), str(tmp_path)), start_new_session=True
    )
    try:
        await until(lambda: (repository / PATHS[0]).exists() and any(staging.rglob("*.jar")))
        os.killpg(process.pid, number)
    finally:
        (tmp_path / "goes-on").touch()
    async with asyncio.timeout(LIMIT):
        status = await process.wait()
    assert status == (0 if number is signal.SIGINT else -number)
    assert not _of_home(tmp_path)
    if number is signal.SIGINT:
        assert not staging.exists()
    whole = {path for path in PATHS if (repository / path).exists()}
    assert all((repository / path).read_bytes() == path.encode() for path in whole)

    again = Fetch()
    await asyncio.to_thread(kafka_classpath, tmp_path / "cache", jars=JARS, fetch=again)
    assert set(again.fetched) == set(PATHS) - whole
    assert not staging.exists()


async def test_ctrl_c_during_a_conversion_leaves_no_process_and_no_model_that_is_not_whole(
    settings: Settings, tmp_path: Path
) -> None:
    models = tmp_path / "home" / "models"
    ports = {f"BARNABAS_{name.upper()}": "0" for name in FREE_PORTS}
    where = {
        "BARNABAS_HOME": str(tmp_path / "home"),
        "BARNABAS_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "BARNABAS_REDIS_URL": settings.redis_url.get_secret_value(),
    }
    for _ in range(2):  # the second finds what the first left
        shutil.rmtree(models / settings.model, ignore_errors=True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "barnabas.local", "up", "--only", "inference-worker"),
            env={**os.environ, **ports, **where},
            start_new_session=True,
        )
        # The process too: the folder may be one that the first left.
        await until(lambda: any(models.glob(f".{settings.model}.partial-*/*.safetensors")) and _of_home(models))
        os.killpg(process.pid, signal.SIGINT)
        async with asyncio.timeout(LIMIT):
            assert await process.wait() == 0
        assert not _of_home(models)
        if manifest := files.read_manifest(models / settings.model):  # it was about to end
            files.verify(models / settings.model, manifest)
        else:
            assert not (models / settings.model).exists()
