"""`python -m tests.chaos` breaks a running stack in every way there is, and tells whether it kept its promises.

It exits with 1 if one was broken. The table goes to standard output, or with `--json` one object; how it goes meanwhile
to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tests.chaos.plan import Plan
from tests.chaos.run import chaos

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000, help="how many are asked for (%(default)s)")
    parser.add_argument("--minutes", type=float, default=12.0, help="over which faults strike (%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="repeats a run that had it")
    parser.add_argument("--inference", action="store_true", help="ask and strike an inference worker too")
    parser.add_argument("--short", action="store_true", help="the short form, as `make test` has it")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--keep", type=Path, help="a folder in which home, logs and notes are kept")
    given = parser.parse_args()
    # That Kafka is away is what is wanted here, and said several times a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if given.short:
        plan = Plan.short(given.seed)
    else:
        plan = Plan.whole(given.seed, given.tasks, given.minutes, model=given.inference)
    with tempfile.TemporaryDirectory(prefix="barnabas-chaos-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(chaos(plan, folder, _say()))
    if given.json:
        sys.stdout.write(json.dumps(report.json()) + "\n")
    else:
        Console().print(report.table())
    return 1 if report.broken else 0


def _say() -> Callable[[str], None]:
    began = time.monotonic()

    def say(told: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.0f} s  {told}\n")
        sys.stderr.flush()

    return say


if __name__ == "__main__":
    sys.exit(main())
