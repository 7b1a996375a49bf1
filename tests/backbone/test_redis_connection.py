"""A connection to Redis whose transport is closed under it; and what redis-py itself makes of that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from backbone.redis import connect
from backbone.redis_connection import OURS
from backbone.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

LIMIT = 20.0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say OK to whatever is said."""
    while await reader.read(65536):
        writer.write(b"+OK\r\n" * 8)
    writer.close()


async def _send_when_closed(*, ours: bool) -> None:
    """Connect, lose the transport before the connection hears of it, and send."""
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        client = connect(Settings(redis_url=SecretStr(url))) if ours else Redis.from_url(url)
        async with client:
            connection = client.connection_pool.make_connection()
            await connection.connect()
            lost = asyncio.Event()
            # The reader is told, but whoever reads has yet to run.
            connection._reader.feed_eof = lost.set
            connection._writer.transport.abort()
            await lost.wait()
            await connection.send_command("SET", "a", "b", check_health=False)


def _run(main: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, LIMIT))


def test_a_closed_transport_is_a_broken_connection():
    with pytest.raises(RedisConnectionError, match="is broken"):
        _run(_send_when_closed(ours=True))


def test_without_our_change_it_is_no_error_of_redis():
    """Should this fail, redis-py or uvloop mended it, and `backbone.redis_connection` may go."""
    with pytest.raises(RuntimeError, match="the handler is closed"):
        _run(_send_when_closed(ours=False))


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///nowhere"])
def test_whatever_the_address_it_is_a_connection_of_ours(url):
    assert connect(Settings(redis_url=SecretStr(url))).connection_pool.connection_class in OURS.values()
