"""`python -m benchmarks NAME [--quick] [--json] [--plot FILE]` runs a benchmark; 0 if every goal is met, else 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import structlog

from benchmarks.admission.command import measure as admission
from benchmarks.dispatch.command import measure as dispatch
from benchmarks.inference.command import measure as inference
from benchmarks.mail import measure as mail
from benchmarks.report import show
from benchmarks.timers import measure as timers
from benchmarks.web.command import measure as web

BENCHMARKS = {
    "admission": admission,
    "dispatch": dispatch,
    "inference": inference,
    "mail": mail,
    "timers": timers,
    "web": web,
}


def main() -> int:
    """Run one benchmark and print its report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--quick", action="store_true", help="a short form: it shows that all works, not how fast")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output instead of a table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the result into this SVG file")
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    report = BENCHMARKS[chosen.name](quick=chosen.quick, plot=chosen.plot)
    show(report, as_json=chosen.json)
    return 0 if all(row.met is not False for row in report.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
