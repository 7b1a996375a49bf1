"""Is a process ready, and later, is it alive? Two questions, for Kafka, Valkey and a service's health port.

A service answers `GET /readyz` with 200 when it serves, and until then with 503 and
`{"ready": false, "detail": "converting the model 40 %"}`. `GET /healthz` says with 200 that its event loop turns.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError  # noqa: A004 - the library's names

TIMEOUT = 2.0
"""Seconds that an answer may take."""


class Health(NamedTuple):
    """Whether a process serves, and what it says meanwhile."""

    ready: bool
    detail: str = ""


class Probe(Protocol):
    """Asks one process."""

    async def check(self) -> Health:
        """Ask once whether it serves; a process that can't be reached does not."""

    async def alive(self) -> bool:
        """Ask once whether it is alive, be it busy; one that is stuck is not."""


class _Readiness(msgspec.Struct):
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """A service: `GET /readyz` and `GET /healthz`."""

    host: str
    port: int

    async def check(self) -> Health:
        """Ask once."""
        answer = await asyncio.to_thread(self._get, "/readyz")
        if answer is None:
            return Health(ready=False)
        status, body = answer
        if status == http.client.OK:
            return Health(ready=True)
        try:
            return Health(ready=False, detail=msgspec.json.decode(body, type=_Readiness).detail)
        except msgspec.DecodeError:
            return Health(ready=False, detail=f"answers {status}")

    async def alive(self) -> bool:
        """Ask once."""
        answer = await asyncio.to_thread(self._get, "/healthz")
        return answer is not None and answer[0] == http.client.OK

    def _get(self, path: str) -> tuple[int, bytes] | None:
        """Return status and body; None if there is no answer."""
        # http.client knows no proxies: what listens here is on this machine.
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class KafkaProbe:
    """A broker: it is registered and leads every partition, so that it takes and serves records."""

    host: str
    port: int

    async def check(self) -> Health:
        """Ask once."""
        try:
            metadata = await asyncio.to_thread(self._metadata)
        except OSError:
            return Health(ready=False)
        except KafkaException as error:
            return Health(ready=False, detail=str(error.args[0].str()))
        led = [partition.leader >= 0 for topic in metadata.topics.values() for partition in topic.partitions.values()]
        if not all(led):
            return Health(ready=False, detail=f"leads {sum(led)} of {len(led)} partitions")
        return Health(ready=bool(metadata.brokers))

    async def alive(self) -> bool:
        """Ask once; a partition without a leader is no reason to end the others."""
        try:
            return bool((await asyncio.to_thread(self._metadata)).brokers)
        except (OSError, KafkaException):
            return False

    def _metadata(self) -> ClusterMetadata:
        # Not before something listens: the client would retry, and complain, by itself.
        socket.create_connection((self.host, self.port), TIMEOUT).close()
        client = AdminClient({"bootstrap.servers": f"{self.host}:{self.port}", "log_level": 0})
        return client.list_topics(timeout=TIMEOUT)


@dataclass(frozen=True, slots=True)
class ValkeyProbe:
    """A Valkey or Redis: PING, which it refuses while it loads its file."""

    url: str

    async def check(self) -> Health:
        """Ask once."""
        retry = Retry(NoBackoff(), 0)
        async with Redis.from_url(self.url, socket_timeout=TIMEOUT, retry=retry) as client:
            try:
                return Health(ready=bool(await client.ping()))
            except BusyLoadingError:
                return Health(ready=False, detail="loading its file")
            except (ConnectionError, TimeoutError):
                return Health(ready=False)

    async def alive(self) -> bool:
        """Ask once; to load its file is a sign of life."""
        health = await self.check()
        return health.ready or bool(health.detail)
