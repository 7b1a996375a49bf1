"""Run one service as a process: settings, logs, health, presence, and a drain when it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog

from backbone.errors import BrokerUnavailableError
from backbone.kafka import create_topics
from backbone.presence import announce
from backbone.redis import connect
from backbone.settings import settings
from backbone.telemetry import HealthServer, LoopPulse, Readiness, configure_logging
from schemas.errors import BarnabasError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.settings import Settings

_log = structlog.get_logger()

AWAY_SECONDS = 1.0
"""Pause between tries while Kafka is away."""
DRAIN_MARGIN = 3.0
"""Seconds beyond the longest handler after which a drain is given up; who supervises has a limit that is later."""


class Service(Protocol):
    """What runs: a tier's app, the timer service, a worker. It says by its `Readiness` when it serves."""

    async def start(self) -> None:
        """Begin to serve."""

    async def stop(self) -> None:
        """Finish what runs and leave the group."""

    async def crashed(self) -> BaseException:
        """Wait until it can't go on, and return why."""


def run(name: str, make: Callable[[Settings, Readiness], Service]) -> int:
    """Run a service until SIGTERM or SIGINT, and return the exit status: 1 if it could not start or go on.

    Args:
        name: what it is called in logs and in `presence`.
        make: makes the service once topics are there.
    """
    try:
        config = settings()
        configure_logging(config, name)
        return asyncio.run(_serve(config, name, make))
    except BarnabasError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - a person reads why it won't start
        return 1


async def _serve(config: Settings, name: str, make: Callable[[Settings, Readiness], Service]) -> int:
    stopping = asyncio.create_task(_signalled())
    readiness = Readiness()
    pulse = LoopPulse()
    beating = asyncio.create_task(pulse.beat())
    health = HealthServer(config.metrics_host, config.metrics_port, readiness, pulse.alive)
    health.start()
    redis = connect(config)
    presence = asyncio.create_task(announce(redis, config, name, readiness))
    try:
        starting = asyncio.create_task(_started(config, readiness, make))
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            _log.info("service.stopped", during=readiness.detail)
            return 0  # nothing is in hand yet
        service = starting.result()
        crash = asyncio.create_task(service.crashed())
        await asyncio.wait({crash, stopping}, return_when=asyncio.FIRST_COMPLETED)
        readiness.not_ready("draining")
        if crash.done():
            _log.error("service.crashed", exc_info=crash.result())
            return 1
        crash.cancel()
        await _drained(service, config.handler_timeout.total_seconds() + DRAIN_MARGIN)
        _log.info("service.stopped")
        return 0
    finally:
        presence.cancel()
        with suppress(asyncio.CancelledError):
            await presence
        await redis.aclose()
        health.stop()
        beating.cancel()


async def _started(config: Settings, readiness: Readiness, make: Callable[[Settings, Readiness], Service]) -> Service:
    if config.create_topics:
        await _topics_made(config, readiness)
    service = make(config, readiness)
    await service.start()
    return service


async def _topics_made(config: Settings, readiness: Readiness) -> None:
    """Make the topics; wait for a Kafka that is away, as after a power cut in which all starts at once."""
    detail = readiness.detail
    while True:
        try:
            await create_topics(config)
        except BrokerUnavailableError as error:
            if readiness.detail != error.message:
                _log.warning("service.waits", reason=error.message)
            readiness.not_ready(error.message)
            await asyncio.sleep(AWAY_SECONDS)
        else:
            readiness.not_ready(detail)
            return


async def _drained(service: Service, limit: float) -> None:
    """Let a service finish; end the process if it can't, as where Kafka went away meanwhile."""
    stopping = asyncio.create_task(service.stop())
    if not (await asyncio.wait({stopping}, timeout=limit))[0]:
        _log.error("service.drain_overdue", seconds=limit)
        # Threads of libraries wait with it, and nothing else ends those. What was not finished is delivered again.
        os._exit(1)
    stopping.result()


async def _signalled() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
