"""One change to redis-py's connections, by subclassing: a transport that is closed already is a broken connection.

Where the server dies, asyncio's own transports take what is written to them afterwards and say nothing; uvloop's raise
`RuntimeError`, which redis-py hands on as it is. It would be nobody's `RedisError`: the edge would answer 500, and a tier
would run a task again that it had run already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    from redis.asyncio import Redis


class ClosedIsBroken:
    """Mixed into redis-py's connections."""

    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        """Send a command.

        Raises:
            redis.exceptions.RedisError: the connection is broken.
        """
        try:
            await super().send_packed_command(*arguments, **options)  # type: ignore[misc]  # of redis-py's connection
        except RuntimeError as error:
            raise RedisConnectionError(f"the connection is broken: {error}") from error


class Plain(ClosedIsBroken, Connection):
    """A connection by `redis://`."""


class Secure(ClosedIsBroken, SSLConnection):
    """A connection by `rediss://`."""


class Near(ClosedIsBroken, UnixDomainSocketConnection):
    """A connection by `unix://`."""


OURS = {Connection: Plain, SSLConnection: Secure, UnixDomainSocketConnection: Near}


def harden(client: Redis) -> Redis:
    """Let a client that has not connected yet connect by these; return it."""
    pool = client.connection_pool
    pool.connection_class = OURS[pool.connection_class]
    return client
