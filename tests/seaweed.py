"""A real S3 for tests: SeaweedFS in one process, on free ports of the loopback, in a folder of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from pydantic import SecretStr

from backbone.object_store import open_store
from backbone.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET = "tests", "a-secret-of-tests"
START_SECONDS = 60


@contextmanager
def seaweed(folder: Path) -> Iterator[Settings]:
    """Run SeaweedFS, and yield settings whose blobs lie there."""
    may = {"credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [{"name": "tests", **may}]}))
    parts = ("master", "volume", "filer", "s3")
    ports = dict(zip([f"{part}.port{grpc}" for part in parts for grpc in ("", ".grpc")], _free(8), strict=True))
    log = (folder / "log").open("wb")
    running = subprocess.Popen(
        [
            Path(sys.executable).with_name("weed"), "-logtostderr", "server", f"-dir={folder}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}", "-s3.iam=false", "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64", "-volume.max=50", "-master.raftBootstrap", "-s3.autoCreateBucket=true",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            *(f"-{name}={port}" for name, port in ports.items()),
        ],
        stdout=log, stderr=log, cwd=folder,
    )  # fmt: skip
    settings = Settings(
        home=folder / "home", blob_url="s3://blobs/of/tests", blob_endpoint=f"http://127.0.0.1:{ports['s3.port']}",
        blob_region="us-east-1", blob_key_id=SecretStr(KEY), blob_key_secret=SecretStr(SECRET),
    )  # fmt: skip
    try:
        _wait(settings, running, folder / "log")
        yield settings
    finally:
        running.kill()
        running.wait()
        log.close()


def _wait(settings: Settings, running: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it takes something."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            obstore.put(open_store(settings), "is-there", b"yes")
        except BaseError:
            if running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.2)
        else:
            return


def _free(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
