"""A transport that is closed under its connection, and a broker that is coming up; and what aiokafka itself makes of them."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest
import uvloop
from aiokafka import client, conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.admin import ApiVersionRequest, ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v0

from backbone import kafka
from backbone.kafka_connection import Client, Connection
from backbone.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 20.0


async def _send_when_closed(made_by: type[conn.AIOKafkaConnection]) -> None:
    """Connect to a server, lose the transport before the connection hears of it, and send."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    class Unversioned(made_by):
        async def _do_version_lookup(self) -> None:
            """Ask nothing: whoever is connected to is no broker."""

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connection = Unversioned(*server.sockets[0].getsockname(), request_timeout_ms=LIMIT * 1000)
        try:
            await connection.connect()
            lost = asyncio.Event()
            # The reader is told, but the task that reads has yet to run.
            connection._reader.feed_eof = lost.set
            connection._writer.transport.abort()
            await lost.wait()
            await connection.send(ApiVersionRequest())
        finally:
            connection.close()


def _run(loop: Callable[[], asyncio.AbstractEventLoop], main: Awaitable[None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(main, LIMIT))


def test_a_closed_transport_is_a_broken_connection():
    with pytest.raises(KafkaConnectionError, match="is broken"):
        _run(uvloop.new_event_loop, _send_when_closed(Connection))


def test_without_our_change_it_is_an_error_that_aiokafka_does_not_foresee():
    """Should this fail, aiokafka or uvloop mended it, and `backbone.kafka_connection` may go."""
    (theirs,) = Connection.__bases__
    with pytest.raises(RuntimeError, match="the handler is closed") as caught:
        _run(uvloop.new_event_loop, _send_when_closed(theirs))
    assert not isinstance(caught.value, KafkaConnectionError)


async def test_every_client_of_the_process_is_made_so():
    made = kafka.Producer(Settings())._client.client
    assert type(made) is Client
    assert conn.AIOKafkaConnection is Connection


async def _brokers_known_to(made_by: type[client.AIOKafkaClient]) -> list[int]:
    """Connect to a broker that at first knows of none; return those that the client knows then."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while size := await reader.read(4):
            request = await reader.readexactly(*struct.unpack(">i", size))
            kind, _version, correlation = struct.unpack(">hhi", request[:8])
            if kind == ApiVersionResponse_v0.API_KEY:
                answer = ApiVersionResponse_v0(0, [(kind, 0, 0), (MetadataResponse_v0.API_KEY, 0, 0)]).encode()
            else:
                asked += 1
                answer = MetadataResponse_v0([(1, "127.0.0.1", port)] if asked > 2 else [], []).encode()
            writer.write(struct.pack(">ii", 4 + len(answer), correlation) + answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        made = made_by(bootstrap_servers=f"127.0.0.1:{port}")
        try:
            await asyncio.wait_for(made.bootstrap(), LIMIT)
            return [broker.nodeId for broker in made.cluster.brokers()]
        finally:
            await made.close()


async def test_a_broker_that_knows_of_none_yet_is_asked_again():
    assert await _brokers_known_to(Client) == [1]


async def test_without_our_change_the_client_knows_of_none():
    """Should this fail, aiokafka asks again itself, and `Client` may go."""
    (theirs,) = Client.__bases__
    assert await _brokers_known_to(theirs) == []
