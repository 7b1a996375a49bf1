"""`python -m streams --tier TIER` runs a tier's app, `python -m streams timers` the timer service."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import mode.loop

from backbone import service
from backbone.settings import CpuClass
from schemas.tiers import Tier

if TYPE_CHECKING:
    from backbone.settings import Settings
    from backbone.telemetry import Readiness


def main() -> int:
    """Run one service until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m streams", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--tier", type=Tier, choices=list(Tier), help="run the app of this tier")
    which.add_argument("service", nargs="?", choices=["timers"], help="run the timer service")
    tier: Tier | None = parser.parse_args().tier
    # Before Faust is imported: it decides then which event loop it is built on.
    mode.loop.use("uvloop")

    def make(settings: Settings, readiness: Readiness) -> service.Service:
        if tier is None:
            from streams.timers import TimerService  # noqa: PLC0415 - each service imports only what it runs

            return TimerService(settings, readiness)
        if settings.local_cpu_classes:
            _set_cpu_class(settings.tiers[tier].cpu_class)
        from streams.app import TierApp  # noqa: PLC0415 - Faust must be imported after the loop is chosen

        return TierApp(settings, tier, readiness)

    return service.run(f"streams.{tier or 'timers'}", make)


def _set_cpu_class(cpu_class: CpuClass) -> None:
    """Give way to every other process, where the operating system can say so and no container weights this one."""
    if cpu_class is CpuClass.IDLE and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
