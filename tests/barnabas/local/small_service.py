"""A small real service for the supervisor's tests: a health port, a log, and manners that its arguments choose.

small_service.py PORT JOURNAL [--slow SECONDS] [--stubborn] [--child PIDFILE] [--exit STATUS] [--needs FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("journal", type=Path)
parser.add_argument("--slow", type=float, default=0)
parser.add_argument("--stubborn", action="store_true")
parser.add_argument("--child", type=Path)
parser.add_argument("--exit", type=int)
parser.add_argument("--needs", type=Path)
options = parser.parse_args()
began = time.monotonic()


def note(event: str) -> None:
    """Append a line, whole even beside other writers."""
    with options.journal.open("a") as journal:
        journal.write(f"{event} {os.getpid()} {time.monotonic_ns()}\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        left = options.slow - (time.monotonic() - began)
        body = {"ready": left <= 0, "detail": "" if left <= 0 else f"warming up, {left:.1f} s left"}
        self.send_response(200 if left <= 0 else 503)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


def stop(*_: object) -> None:
    note("asked")
    if not options.stubborn:
        note("stopped")
        threading.Thread(target=server.shutdown).start()


if options.exit is not None:
    sys.stdout.write("the reason why nothing works\n")
    sys.exit(options.exit)
if options.needs and not options.needs.exists():
    sys.exit("no space left")
if options.child:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    options.child.write_text(str(grandchild.pid))
signal.signal(signal.SIGTERM, stop)
ThreadingHTTPServer.allow_reuse_address = True
server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
note("started")
server.serve_forever()
