"""The port on which a process tells how it does."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection

import pytest

from backbone.telemetry import HealthServer, Readiness


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_says_what_it_waits_for_until_it_serves_and_whether_it_is_alive(port):
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
        assert ask(port, "/other")[0] == 404
    finally:
        server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/healthz")


def test_without_a_port_it_listens_nowhere():
    server = HealthServer("127.0.0.1", 0, Readiness())
    server.start()
    server.stop()
