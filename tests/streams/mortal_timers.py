"""A timer service that is killed by its own hand: `python -m tests.streams.mortal_timers SENDS [--unacknowledged]`.

It is the real one, but for its producer, which ends the process (SIGKILL) when it has sent so many times: after the last
send is durable, or right after it was handed over, so that nobody knows whether it is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from backbone import service
from streams.bulk import BulkProducer, Write
from streams.timers import TimerService

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backbone.settings import Settings
    from backbone.telemetry import Readiness


class MortalProducer(BulkProducer):
    """Ends the process with its n-th send."""

    def __init__(self, settings: Settings, sends: int, unacknowledged: bool) -> None:
        super().__init__(settings)
        self._left = sends
        self._unacknowledged = unacknowledged

    async def send_all(self, writes: Sequence[Write]) -> list[bool]:
        self._left -= 1
        if self._left:
            return await super().send_all(writes)
        sending = asyncio.create_task(super().send_all(writes))
        await (asyncio.sleep(0) if self._unacknowledged else sending)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("sends", type=int)
    parser.add_argument("--unacknowledged", action="store_true")
    given = parser.parse_args()

    def make(settings: Settings, readiness: Readiness) -> service.Service:
        return TimerService(settings, readiness, producer=MortalProducer(settings, given.sends, given.unacknowledged))

    return service.run("streams.timers", make)


if __name__ == "__main__":
    sys.exit(main())
