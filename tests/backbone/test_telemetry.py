"""The port on which a process tells how it does."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
from http.client import HTTPConnection

import pytest
from prometheus_client import Counter

from backbone.telemetry import HealthServer, LoopPulse, Readiness


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


LOGS = """
import structlog
from backbone.settings import Settings
from backbone.telemetry import configure_logging

def read(payload):
    raise ValueError("unreadable")

configure_logging(Settings(log_format="{form}"), "tests")
try:
    read("what only its owner may " + "see")
except ValueError as error:
    structlog.get_logger().error("task.crashed", exc_info=error)
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_in_the_log_shows_no_variable(form):
    done = subprocess.run(
        (sys.executable, "-c", LOGS.format(form=form)), check=True, capture_output=True, text=True, timeout=60
    )
    assert "unreadable" in done.stderr
    assert "what only its owner may see" not in done.stderr


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_who_hangs_up_before_the_answer_leaves_no_traceback(port, capfd):
    hung_up = threading.Event()
    server = HealthServer("127.0.0.1", port, Readiness(), lambda: hung_up.wait(30))
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", port)) as asking:
            asking.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a farewell
        hung_up.set()
        assert ask(port, "/healthz")[0] == 200
        for thread in threading.enumerate():
            if "process_request" in thread.name:
                thread.join(30)
    finally:
        server.stop()
    assert capfd.readouterr().err == ""


def test_says_what_it_waits_for_until_it_serves_and_whether_it_is_alive(port):
    Counter("seen_by_tests", "A counter.").inc()
    readiness, alive = Readiness("loading the model"), [True]
    server = HealthServer("127.0.0.1", port, readiness, lambda: alive[0])
    server.start()
    try:
        assert ask(port, "/readyz") == (503, json.dumps({"ready": False, "detail": "loading the model"}).encode())
        readiness.is_ready()
        assert ask(port, "/readyz")[0] == 200
        readiness.not_ready("draining")
        assert ask(port, "/readyz")[0] == 503
        assert ask(port, "/healthz")[0] == 200
        alive[0] = False
        assert ask(port, "/healthz")[0] == 503
        status, body = ask(port, "/metrics")
        assert status == 200
        assert b"python_info" in body
        assert b"seen_by_tests_total 1.0" in body
        assert b"_created" not in body
        assert ask(port, "/other")[0] == 404
    finally:
        server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/healthz")


def test_without_a_port_it_listens_nowhere():
    server = HealthServer("127.0.0.1", 0, Readiness())
    server.start()
    server.stop()


async def test_a_loop_that_turns_has_a_pulse_and_one_that_stands_still_has_none():
    now = [100.0]
    pulse = LoopPulse(limit=20.0, clock=lambda: now[0])
    assert pulse.alive()
    now[0] += 20.0
    assert not pulse.alive()
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0)
    assert pulse.alive()
    now[0] += 19.9
    assert pulse.alive()
    beating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beating


def test_a_health_port_tells_from_its_thread_that_the_loop_is_stuck(port):
    """The loop blocks itself by asking: the pulse can't beat meanwhile."""
    now = [0.0]

    async def stuck() -> list[int]:
        pulse = LoopPulse(limit=20.0, clock=lambda: now[0])
        server = HealthServer("127.0.0.1", port, Readiness(), pulse.alive)
        server.start()
        beating = asyncio.create_task(pulse.beat())
        await asyncio.sleep(0)
        try:
            before = ask(port, "/healthz")[0]
            now[0] = 20.0
            return [before, ask(port, "/healthz")[0]]
        finally:
            beating.cancel()
            server.stop()

    assert asyncio.run(stuck()) == [200, 503]
