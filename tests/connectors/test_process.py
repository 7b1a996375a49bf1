"""The edge as a process of its own: it starts alone, drains when told, and refuses what it can't promise."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from datetime import timedelta

import pytest
from websockets.exceptions import ConnectionClosed

from backbone.errors import SettingsError
from backbone.kafka import Producer
from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from connectors.edge import running
from connectors.errors import ExposedError, PortError
from schemas.records import Status
from tests.connectors.conftest import (
    PAYLOAD_SCHEMA,
    Played,
    edge_process,
    edge_settings,
    edge_up,
    free_port,
    task_of,
)
from tests.support import until

pytestmark = pytest.mark.stack
ECHO = {"kind": "test.echo", "payload": {"x": 1}}


async def test_it_runs_alone_and_drains_on_sigterm(settings, services, tmp_path):
    port = free_port()
    async with edge_process(settings, tmp_path, port) as (child, caller):
        async with caller.socket() as open_socket:
            receipt = (await open_socket.ask("accepted", type="submit", **ECHO))["task"]
            child.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await open_socket.hear()
        assert closed.value.rcvd.code == 1001
        assert await asyncio.wait_for(child.wait(), 20) == 0
        await caller.http.aclose()
    # What it accepted is there for the next one.
    async with edge_up(edge_settings(settings, tmp_path)) as edge, edge.socket() as again:
        await again.ask("subscribed", type="subscribe", task=receipt["id"])
        await services.say(task_of(receipt), Status.SUCCEEDED, result=b"1")
        assert (await again.hear_all())[1][-1]["status"] == "succeeded"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_it_listens_on_loopback_only(settings, tmp_path, host):
    with pytest.raises(ExposedError) as refused:
        async with running(edge_settings(settings, tmp_path, edge_host=host)):
            pass
    assert refused.value.field == "BARNABAS_EDGE_HOST"


async def test_a_taken_port_is_named(settings, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=str(port)):
            async with running(edge_settings(settings, tmp_path, edge_port=port)):
                pass


async def test_without_an_api_key_it_does_not_start(settings, tmp_path):
    with pytest.raises(SettingsError, match="no API key"):
        async with running(settings.model_copy(update={"api_key_file": tmp_path / "none"})):
            pass


async def test_a_client_that_reads_too_slowly_is_dropped_and_slows_nobody(settings, services, tmp_path):
    async with edge_up(edge_settings(settings, tmp_path)) as edge, edge.socket() as quick:
        receipt = (await quick.ask("accepted", type="submit", kind="llm.chat", payload={"messages": []}))["task"]
        async with edge.socket() as slow:
            await slow.ask("subscribed", type="subscribe", task=receipt["id"])
            slow.connection.transport.pause_reading()
            task = task_of(receipt)
            claim = await services.claim(task)

            # No faster than the quick one reads, which shares this process with whoever writes.
            for index in range(0, 500, 20):
                await services.tokens(task, claim, index, *(["x" * 50_000] * 20))
                assert len(await quick.hear_tokens(index, 20, limit=60)) == 20 * 50_000
            await services.say(task, Status.SUCCEEDED, claim=claim, tokens=500, result=b"{}")
            assert (await quick.hear("event"))["status"] == "succeeded"

            async def dropped():
                return 'barnabas_edge_connections{protocol="websocket"} 1.0' in (await edge.http.get("/metrics")).text

            await until(dropped)
            slow.connection.transport.resume_reading()


async def test_kafka_away_is_said_and_its_return_goes_unnoticed(tmp_path):
    stop = asyncio.Event()
    async with LocalStack(Settings(home=tmp_path / "home", **FREE_PORTS), only=("kafka", "valkey")) as stack:
        supervised = asyncio.create_task(stack.supervise(stop))
        producer = Producer(stack.settings)
        await producer.start()
        services = Played(producer)
        await services.announce("test.echo", PAYLOAD_SCHEMA)
        theirs = edge_settings(stack.settings, tmp_path, produce_timeout=timedelta(seconds=1))
        async with edge_up(theirs) as edge, edge.socket() as open_socket, edge.socket() as later:
            receipt = (await open_socket.ask("accepted", type="submit", **ECHO))["task"]
            other = (await edge.http.post("/v1/tasks", json=ECHO)).json()
            await later.ask("subscribed", type="subscribe", task=other["id"])
            await services.say(task_of(other), Status.SUCCEEDED, result=b"1")
            assert (await later.hear_all())[1][-1]["status"] == "succeeded"  # read from the log, by a reader that stays
            os.kill(stack.pid("kafka"), signal.SIGSTOP)
            try:
                refused = await edge.http.post("/v1/tasks", json=ECHO, timeout=30)
            finally:
                os.kill(stack.pid("kafka"), signal.SIGCONT)
            assert (refused.status_code, refused.json()["code"]) == (503, "broker.unavailable")
            assert refused.headers["Retry-After"]
            os.kill(stack.pid("kafka"), signal.SIGKILL)
            await edge.until("/readyz", lambda body: body["ready"], limit=90)

            async def accepted():
                return (await edge.http.post("/v1/tasks", json=ECHO)).status_code == 202

            await until(accepted)
            async with edge.socket() as resumed:
                await resumed.ask("subscribed", type="subscribe", task=other["id"])
                assert (await resumed.hear_all(limit=60))[1][-1]["status"] == "succeeded"
            await services.say(task_of(receipt), Status.SUCCEEDED, result=b"1")
            assert (await open_socket.hear_all(limit=60))[1][-1]["status"] == "succeeded"
        await producer.stop()
        stop.set()
        await supervised
