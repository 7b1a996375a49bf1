"""A holder of a lease in a process of its own, told by lines on standard input what to do.

`late`: takes the lease and then waits without a look at its event loop; goes on at the next line, and writes.
`long`: takes the lease and waits in its event loop, for whatever comes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from backbone.errors import LeaseLostError, StaleFenceError
from backbone.fence import fenced
from backbone.lease import Lease
from backbone.redis import connect
from backbone.settings import settings
from backbone.telemetry import configure_logging


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(how: str, name: str, ttl: float, resource: Path) -> None:
    configure_logging(settings(), "holder")  # on standard error
    redis = connect(settings())
    try:
        async with Lease(redis, settings(), name, ttl=ttl) as held:
            tell(f"held {held.fence}")
            if how == "long":
                await asyncio.Event().wait()
            sys.stdin.readline()
            tell("lost" if held.lost else "held")
            with fenced(resource, held.fence):
                resource.write_text("late")  # noqa: ASYNC240 - nothing else runs here
            tell("written")
    except LeaseLostError:
        tell("cancelled")
    except StaleFenceError:
        tell("refused")
    await redis.aclose()


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])))
