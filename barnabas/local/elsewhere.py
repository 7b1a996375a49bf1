"""Servers that run elsewhere: asked whether they answer before anything is started that needs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from redis.exceptions import RedisError

from backbone.kafka import librdkafka_config
from backbone.redis import connect
from barnabas.errors import UnreachableError

if TYPE_CHECKING:
    from backbone.settings import Settings

LIMIT = 15.0
"""Seconds in which a broker must answer: one that was started a moment ago may take that long."""


async def reach_kafka(settings: Settings, limit: float = LIMIT) -> None:
    """Ask Kafka for its topics.

    Raises:
        UnreachableError: no broker answered.
    """
    admin = AdminClient(librdkafka_config(settings))
    try:
        await asyncio.to_thread(admin.list_topics, timeout=limit)
    except KafkaException as error:
        raise UnreachableError(
            f"no broker answers at {settings.kafka_bootstrap} ({error.args[0].str()}): "
            "start it, or unset the variable for an embedded one",
            field="BARNABAS_KAFKA_BOOTSTRAP",
        ) from None


async def reach_redis(settings: Settings) -> None:
    """Send Redis a PING.

    Raises:
        UnreachableError: it did not answer.
    """
    client = connect(settings)
    try:
        await client.ping()
    except RedisError as error:
        raise UnreachableError(
            f"neither Redis nor Valkey answers at {_address(settings)} ({error}): "
            "start it, or unset the variable for an embedded one",
            field="BARNABAS_REDIS_URL",
        ) from None
    finally:
        await client.aclose()


def _address(settings: Settings) -> str:
    """Return where Redis should be, without its password."""
    url = urlsplit(settings.redis_url.get_secret_value())
    return url.path if url.scheme == "unix" else f"{url.hostname or 'localhost'}:{url.port or 6379}"
