"""`python -m streams --tier TIER` runs a tier's app, `python -m streams timers` the timer service."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import mode.loop
import structlog

from backbone.kafka import create_topics
from backbone.presence import announce
from backbone.redis import connect
from backbone.settings import CpuClass, Settings, settings
from backbone.telemetry import HealthServer, LoopPulse, Readiness, configure_logging
from schemas.errors import BarnabasError
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()


class Service(Protocol):
    """What runs here: a tier's app or the timer service."""

    async def start(self) -> None:
        """Begin to serve."""

    async def stop(self) -> None:
        """Finish what runs and leave the group."""

    async def crashed(self) -> BaseException:
        """Wait until it can't go on, and return why."""


def main() -> int:
    """Run one service until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m streams", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--tier", type=Tier, choices=list(Tier), help="run the app of this tier")
    which.add_argument("service", nargs="?", choices=["timers"], help="run the timer service")
    arguments = parser.parse_args()
    # Before Faust is imported: it decides then which event loop it is built on.
    mode.loop.use("uvloop")
    name = f"streams.{arguments.tier or arguments.service}"
    try:
        config = settings()
        configure_logging(config, name)
        if arguments.tier and config.local_cpu_classes:
            _set_cpu_class(config.tiers[arguments.tier].cpu_class)
        return asyncio.run(_serve(config, name, lambda: _make(config, arguments.tier)))
    except BarnabasError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - a person reads why it won't start
        return 1


def _make(config: Settings, tier: Tier | None) -> Service:
    if tier is None:
        from streams.timers import TimerService  # noqa: PLC0415 - each service imports only what it runs

        return TimerService(config)
    from streams.app import TierApp  # noqa: PLC0415 - Faust must be imported after the loop is chosen

    return TierApp(config, tier)


async def _serve(config: Settings, name: str, make: Callable[[], Service]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    readiness = Readiness()
    pulse = LoopPulse()
    beating = asyncio.create_task(pulse.beat())
    health = HealthServer(config.metrics_host, config.metrics_port, readiness, pulse.alive)
    health.start()
    redis = connect(config)
    presence = asyncio.create_task(announce(redis, config, name, readiness))
    try:
        if config.create_topics:
            await create_topics(config)
        service = make()
        await service.start()
        readiness.is_ready()
        _log.info("service.ready")
        crash = asyncio.create_task(service.crashed())
        await asyncio.wait({crash, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        readiness.not_ready("draining")
        if crash.done():
            _log.error("service.crashed", exc_info=crash.result())
            return 1
        crash.cancel()
        await service.stop()
        _log.info("service.stopped")
        return 0
    finally:
        presence.cancel()
        with suppress(asyncio.CancelledError):
            await presence
        await redis.aclose()
        health.stop()
        beating.cancel()


def _set_cpu_class(cpu_class: CpuClass) -> None:
    """Give way to every other process, where the operating system can say so and no container weights this one."""
    if cpu_class is CpuClass.IDLE and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
