"""The connection to Redis or Valkey, and the names that this stack's keys have there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from backbone.redis_connection import harden

if TYPE_CHECKING:
    from backbone.settings import Settings


CONNECTIONS = 64
"""The most connections of a process."""


def key(settings: Settings, name: str) -> str:
    """Return a key's name with the prefix that topics have: two stacks may share a server."""
    return settings.topic_prefix + name


def connect(settings: Settings) -> Redis:
    """Return a client (it connects when it is first used) that answers or fails within seconds."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        # A crowd that comes back at once waits for its turn: with the usual pool it would be told that Redis is away.
        max_connections=CONNECTIONS,
        timeout=5,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=15,
        # One quiet second try covers a connection that the server closed while idle.
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return harden(Redis.from_pool(pool))
