"""Wires the edge: log, gateway, projection and plugins behind one port, and drains them in order.

It opens its port once Kafka answered, and serves on while Kafka or Redis is away: what can't be promised then is
refused with 503, and `/readyz` says why.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI
from redis.exceptions import RedisError

from backbone.blob_sweep import sweep_now_and_then
from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, StoreUnavailableError
from backbone.kafka import Producer, create_topics, name_of
from backbone.lease import Lease
from backbone.outcomes import OutcomeStore
from backbone.presence import announce, who_is_there
from backbone.redis import connect
from backbone.security.audit import Audit
from backbone.security.identity import ApiKeys
from backbone.settings import Settings, settings
from backbone.telemetry import Readiness, configure_logging
from connectors import cursor as cursors
from connectors import plugin
from connectors.catch_up import CatchUpReader
from connectors.door import Door
from connectors.gateway import Gateway
from connectors.idempotency import IdempotencyKeys
from connectors.kinds import Kinds
from connectors.letter_list import letters_of
from connectors.letters import Letters
from connectors.lists import Lists
from connectors.live import Live
from connectors.partitions import Partitions
from connectors.payloads import Payloads
from connectors.projection import Projection
from connectors.schedule_list import schedules_of
from connectors.schedules import Schedules
from connectors.sessions import Sessions
from connectors.states import States
from connectors.tail import Tail
from connectors.uploads import Uploads
from schemas.errors import BarnabasError
from schemas.records import Kind
from schemas.topics import RESULTS, TOKENS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from redis.asyncio import Redis

    from backbone.presence import Present
    from connectors.log import Logged

SERVICE = "connectors"
AGAIN_SECONDS = 0.5
CHANGE_SECONDS = 10
"""How long a change of a schedule waits for another one of the same schedule."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Edge:
    """A running edge.

    Attributes:
        port: where it listens.
        readiness: whether it serves.
        work: its coroutines; when one of them ends by itself the edge can't go on.
    """

    port: int
    readiness: Readiness
    work: tuple[asyncio.Task[Any], ...]


def main() -> int:
    """Run an edge until SIGTERM or SIGINT; return the exit status."""
    try:
        config = settings()
        configure_logging(config, SERVICE)
        return _run(_until_told(config))
    except BarnabasError as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)  # noqa: T201 - a person reads why it won't start
        return 1


@asynccontextmanager
async def running(config: Settings) -> AsyncIterator[Edge]:
    """Run an edge; it serves when this yields, and is drained when it is left.

    Raises:
        SettingsError: there is no API key.
        ExposedError: the address is not a loopback one, and nobody said that it may be.
        PortError: the port is not to be had.
    """
    keys = ApiKeys.load(config)
    readiness = Readiness()
    app = FastAPI(
        title="Barnabas",
        summary="An assistant backbone on Apache Kafka.",
        version="1",
        license_info={"name": "Apache-2.0"},
        docs_url=None,  # the REST plugin serves it
        redoc_url=None,
    )
    door = Door(config, app)
    async with AsyncExitStack() as stack:
        stack.callback(door.close)
        redis = connect(config)
        stack.push_async_callback(redis.aclose)
        await stack.enter_async_context(_task(announce(redis, config, SERVICE, readiness)))
        await stack.enter_async_context(_task(sweep_now_and_then(redis, config)))
        producer = await _producer(config, readiness)
        stack.push_async_callback(producer.stop)

        states = States(redis, config)
        projection = Projection(config, states)
        await projection.start()
        project = await stack.enter_async_context(_task(projection.run()))

        kinds, blobs = Kinds(), Blobs.of(config)
        tail = Tail(config)
        stack.push_async_callback(tail.stop)
        cluster, announced = await tail.open()
        _learn(kinds, announced)
        gateway = Gateway(
            config,
            keys=keys,
            kinds=kinds,
            payloads=Payloads(config, kinds, blobs),
            producer=producer,
            broker_there=lambda: tail.connected,
            states=states,
            outcomes=OutcomeStore(redis, config),
            idempotency=IdempotencyKeys(redis, config),
        )
        sessions = Sessions(name_of(config, RESULTS), name_of(config, TOKENS), cursors.log_id(cluster))
        partitions = Partitions(tail, sessions)
        live = Live(
            config,
            sessions,
            partitions,
            gateway=gateway,
            kinds=kinds,
            states=states,
            reader=CatchUpReader(config),
            feed_reader=CatchUpReader(config),
        )
        stack.push_async_callback(live.stop)
        tail.start(live.deliver)
        await stack.enter_async_context(_task(partitions.watch()))
        read = await stack.enter_async_context(_task(tail.failed()))

        plugins = plugin.load(
            plugin.Services(
                settings=config,
                gateway=gateway,
                schedules=Schedules(
                    gateway,
                    states,
                    Lists(redis, config, schedules_of),
                    lambda timer_id: Lease(redis, config, f"schedules:{timer_id}", wait=CHANGE_SECONDS, outage=0),
                ),
                letters=Letters(config, gateway, states, Lists(redis, config, letters_of), Audit(producer, now_ms)),
                uploads=Uploads(blobs),
                live=live,
                readiness=readiness,
                who_is_there=lambda: _who(redis, config),
            )
        )
        for one in plugins:
            one.open(door)
        watch = await stack.enter_async_context(_task(_watch(readiness, redis, tail, projection)))
        serve = asyncio.create_task(door.serve(), name="door")
        try:
            yield Edge(door.port, readiness, (project, read, watch, serve))
        finally:
            readiness.not_ready("draining")
            for one in plugins:
                await one.drain()
            await door.shut()
            await serve


def _learn(kinds: Kinds, announced: list[Logged]) -> None:
    for logged in announced:
        if logged.record is None or isinstance(logged.record, Kind):
            kinds.put(logged.key, logged.record)


async def _producer(config: Settings, readiness: Readiness) -> Producer:
    """Return a producer and have the topics made, as soon as a broker answers."""
    while True:
        try:
            if config.create_topics:
                await create_topics(config)
            producer = Producer(config)
            await producer.start()
        except BrokerUnavailableError as error:
            _log.warning("edge.waits_for_kafka", error=error.message)
            readiness.not_ready("waiting for Kafka")
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return producer


async def _watch(readiness: Readiness, redis: Redis, tail: Tail, projection: Projection) -> None:
    """Keep the readiness true."""
    while True:
        why = await _missing(redis, tail, projection)
        if why is None and not readiness.ready:
            _log.info("edge.ready")
        elif why is not None and readiness.detail != why:
            _log.warning("edge.not_ready", detail=why)
        if why is None:
            readiness.is_ready()
        else:
            readiness.not_ready(why)
        await asyncio.sleep(AGAIN_SECONDS)


async def _missing(redis: Redis, tail: Tail, projection: Projection) -> str | None:
    if not tail.connected:
        return "Kafka does not answer"
    try:
        await redis.ping()
    except RedisError:
        return "Redis does not answer"
    if tail.blocked or projection.blocked:
        return f"a newer writer's record: upgrade this edge ({tail.blocked or projection.blocked})"
    return None if projection.folding else "the projection waits for Redis"


async def _who(redis: Redis, config: Settings) -> list[Present]:
    try:
        return await who_is_there(redis, config)
    except RedisError as error:
        raise StoreUnavailableError from error


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a coroutine until this is left."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until_told(config: Settings) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    main_task = asyncio.current_task()

    def stop() -> None:
        told.set()
        if not up and main_task is not None:
            main_task.cancel()  # it still waits for Kafka

    up = False
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        async with running(config) as edge:
            up = True
            _log.info("edge.listens", host=config.edge_host, port=edge.port)
            waiting = asyncio.create_task(told.wait())
            done, _ = await asyncio.wait({waiting, *edge.work}, return_when=asyncio.FIRST_COMPLETED)
            if waiting not in done:
                _log.error("edge.failed", exc_info=next(iter(done)).exception())
                return 1
            waiting.cancel()
    except asyncio.CancelledError:
        if not told.is_set():
            raise
    _log.info("edge.stopped")
    return 0


def _run(work: Coroutine[Any, Any, int]) -> int:
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop  # noqa: PLC0415 - there is none for Windows

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
