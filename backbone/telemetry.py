"""What a process tells of itself: logs, metrics, and a port with /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NoReturn

import prometheus_client
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.settings import Settings

# A second gauge for every counter, which nobody reads.
prometheus_client.disable_created_metrics()


def configure_logging(settings: Settings, service: str) -> None:
    """Send this process's logs to standard error: JSON lines, or colours on a terminal. Payloads are never logged."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.types.Processor] = (
        # Rich's tracebacks, which it would take, show each frame's variables: payloads.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # Libraries log through the standard library: the same shape, and never below INFO. Faust and aiokafka build debug
    # records for every message even where nothing prints them, unless the logger itself is set.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer]
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)


class Readiness:
    """Whether a process serves, and what it is doing until then; set from any thread."""

    def __init__(self, detail: str = "starting") -> None:
        self.ready = False
        self.detail = detail
        self._heard: Callable[[], object] | None = None

    def is_ready(self, detail: str = "ready") -> None:
        """Say that it serves."""
        self._set(True, detail)

    def not_ready(self, detail: str) -> None:
        """Say that it does not serve, and why."""
        self._set(False, detail)

    def on_change(self, heard: Callable[[], object] | None) -> None:
        """Have `heard` called, in whatever thread it is set, each time that something changes; None: no more."""
        self._heard = heard

    def _set(self, ready: bool, detail: str) -> None:
        changed = (ready, detail) != (self.ready, self.detail)
        self.ready, self.detail = ready, detail
        heard = self._heard
        if changed and heard is not None:
            heard()


class LoopPulse:
    """Tells other threads whether an event loop turns: a task in it beats each second."""

    def __init__(self, *, limit: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a pulse that has just beaten.

        Args:
            limit: seconds after which a missing beat means that the loop is stuck.
            clock: seconds, never going back.
        """
        self._limit = limit
        self._clock = clock
        self._last = clock()

    async def beat(self) -> NoReturn:
        """Beat until cancelled."""
        while True:
            self._last = self._clock()
            await asyncio.sleep(1.0)

    def alive(self) -> bool:
        """Whether the last beat is young."""
        return self._clock() - self._last < self._limit


class HealthServer:
    """GET /healthz (is it alive), /readyz (does it serve), /metrics, on a thread of its own.

    A thread, so that it answers while the event loop is busy; `alive` tells then that the loop is stuck.
    """

    def __init__(self, host: str, port: int, readiness: Readiness, alive: Callable[[], bool] = lambda: True) -> None:
        self._server: ThreadingHTTPServer | None = None
        if port:
            self._server = _Server((host, port), _handler(readiness, alive))

    def start(self) -> None:
        """Begin to answer, if there is a port."""
        if self._server:
            # A stop waits for its next look.
            serve = partial(self._server.serve_forever, poll_interval=0.1)
            threading.Thread(target=serve, name="health", daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what went wrong, unless whoever asked hung up: a probe does where a process stood still."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(readiness: Readiness, alive: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest())
            elif self.path == "/readyz":
                body = {"ready": readiness.ready, "detail": readiness.detail}
                self._answer(200 if readiness.ready else 503, "application/json", json.dumps(body).encode())
            elif self.path == "/healthz":
                well = alive()
                self._answer(200 if well else 503, "application/json", json.dumps({"alive": well}).encode())
            else:
                self._answer(404, "application/json", b'{"paths": ["/healthz", "/readyz", "/metrics"]}')

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Health checks are not logged."""

    return Handler
