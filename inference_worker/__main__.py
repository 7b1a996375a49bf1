"""`python -m inference_worker` runs one worker until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from backbone.kafka import create_topics
from backbone.presence import announce
from backbone.redis import connect
from backbone.settings import settings
from backbone.telemetry import HealthServer, LoopPulse, Readiness, configure_logging
from inference_worker.kinds import SERVICE
from inference_worker.worker import Worker
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from backbone.settings import Settings

_log = structlog.get_logger()


def main() -> int:
    """Run one worker; return the exit status."""
    try:
        config = settings()
        configure_logging(config, SERVICE)
        return asyncio.run(_serve(config))
    except BarnabasError as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)  # noqa: T201 - a person reads why it won't start
        return 1


async def _serve(config: Settings) -> int:
    stopping = asyncio.create_task(_signalled())
    readiness = Readiness()
    pulse = LoopPulse()
    beating = asyncio.create_task(pulse.beat())
    health = HealthServer(config.metrics_host, config.metrics_port, readiness, pulse.alive)
    health.start()
    redis = connect(config)
    presence = asyncio.create_task(announce(redis, config, SERVICE, readiness))
    try:
        if config.create_topics:
            await create_topics(config)
        worker = Worker(config, readiness)
        starting = asyncio.create_task(worker.start())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # Nothing is in hand yet; a conversion goes on in its own process and is there at the next start.
            _log.info("worker.stopped", during=readiness.detail)
            return 0
        starting.result()
        crash = asyncio.create_task(worker.crashed())
        await asyncio.wait({crash, stopping}, return_when=asyncio.FIRST_COMPLETED)
        readiness.not_ready("draining")
        if crash.done():
            _log.error("worker.crashed", exc_info=crash.result())
            return 1
        crash.cancel()
        await worker.stop()
        _log.info("worker.stopped")
        return 0
    finally:
        presence.cancel()
        with suppress(asyncio.CancelledError):
            await presence
        await redis.aclose()
        health.stop()
        beating.cancel()


async def _signalled() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # All is closed: what would follow is PyTorch's own teardown, seconds in which a drain waits for nothing.
    os._exit(status)
