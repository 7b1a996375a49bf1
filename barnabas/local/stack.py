"""The local stack, whole: from an empty folder to all services ready, and down again.

    async with LocalStack(settings) as stack:
        stack.edge_url, stack.kafka_bootstrap, stack.redis_url

It owns its home while it runs, and keeps where the time of its start went in `phases`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from backbone.kafka import create_topics
from barnabas.errors import DownloadError, HomeError, LocalStackError
from barnabas.local import kafka, processes, valkey
from barnabas.local.child import end_leftovers
from barnabas.local.display import Display, Row, Silent, State
from barnabas.local.elsewhere import reach_kafka, reach_redis
from barnabas.local.home import Home, Running, writing
from barnabas.local.jars import kafka_classpath
from barnabas.local.ports import HOST, Ports, check_free
from barnabas.local.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import TracebackType

    from backbone.settings import Settings

# Steps of the start beside the processes, as people see them.
JARS = "kafka-jars"
FORMAT = "kafka-storage"
TOPICS = "topics"
HOME = "home"


class LocalStack:
    """A stack of processes on this machine. Start it in the main thread's event loop: its children die with it.

    Attributes:
        home: its folder.
        ports: of its listeners.
        settings: the settings given, with where things really are; for clients in this process.
        environment: what its services are given; for services that are started by somebody else.
    """

    def __init__(
        self, settings: Settings, *, only: Collection[str] | None = None, display: Display | None = None
    ) -> None:
        """Make a stack that isn't started yet.

        Args:
            settings: the settings.
            only: names of the processes to start (see `processes.table`); all by default.
            display: is shown what happens; nothing by default.

        Raises:
            LocalStackError: `only` names a process that there isn't.
        """
        if unknown := set(only or ()) - set(processes.NAMES):
            raise LocalStackError(
                f"there is no process {min(unknown)!r}, only {', '.join(processes.NAMES)}", field="only"
            )
        # A service may have another working directory.
        settings = settings.model_copy(update={"home": settings.home.absolute(), "cache": settings.cache.absolute()})
        self.home = Home(settings.home)
        self.ports = Ports.choose(settings, processes.WITH_METRICS_PORT)
        self.environment = processes.service_environment(settings, self.ports)
        self.settings = settings.model_copy(
            update={
                "kafka_bootstrap": processes.kafka_bootstrap(settings, self.ports),
                "redis_url": SecretStr(processes.redis_url(settings, self.ports)),
                "edge_port": self.ports.edge,
            }
        )
        self._elsewhere = [
            reach
            for reach, embedded in (
                (reach_kafka, processes.embeds_kafka(settings)),
                (reach_redis, processes.embeds_valkey(settings)),
            )
            if not embedded
        ]
        whole = processes.table(settings, self.ports, self.home)
        self._table = {process.name: process for process in whole if only is None or process.name in only}
        self._display = display or Silent()
        self._supervisor = Supervisor(self.home.logs, self._display, changed=self._note_children)
        self._steps: list[tuple[str, float]] = []
        self._held = ExitStack()
        self._abandoned = threading.Event()
        self._ready = False

    @property
    def kafka_bootstrap(self) -> str:
        """Where Kafka is."""
        return self.settings.kafka_bootstrap

    @property
    def redis_url(self) -> str:
        """Where Valkey or Redis is."""
        return self.settings.redis_url.get_secret_value()

    @property
    def edge_url(self) -> str | None:
        """Where REST, WebSocket and the API's documentation are; None if this stack has no edge."""
        return f"http://{HOST}:{self.ports.edge}" if processes.EDGE in self._table else None

    @property
    def phases(self) -> list[tuple[str, float]]:
        """Where the time went: each step, and each process until it was first ready, with its seconds."""
        return [*self._steps, *self._supervisor.ready_times().items()]

    def pid(self, name: str) -> int | None:
        """Return the process id of a process, or None if it isn't running."""
        child = self._supervisor.children().get(name)
        return child[0] if child else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all, and return once all but the slow starters are ready.

        Raises:
            HomeError: the home is another's, of a newer version, or can't be written.
            PortTakenError: a port is taken.
            UnreachableError: a server that runs elsewhere does not answer.
            DownloadError: Kafka could not be downloaded.
            JarMismatchError: one of its jars is not the one expected.
            ServiceFailedError: a process can't start.
        """
        services = [process for name, process in self._table.items() if name in processes.MODULES]
        servers = [process for name, process in self._table.items() if name not in processes.MODULES]
        try:
            await self._own_home()
            self._check_ports()
            if services:
                await asyncio.gather(*(reach(self.settings) for reach in self._elsewhere))
            await self._prepare_servers()
            await self._supervisor.start(servers)
            if self.settings.create_topics and (services or processes.KAFKA in self._table):
                with self._step(TOPICS):
                    await create_topics(self.settings)
            await self._supervisor.start(services)
        except BaseException:
            self._abandoned.set()
            await self.stop()
            raise
        self._ready = True
        self._note()

    async def complete(self) -> None:
        """Wait until the slow starters are ready too.

        Raises:
            ServiceFailedError: one of them can't start.
        """
        await self._supervisor.complete()

    async def supervise(self, until: asyncio.Event) -> None:
        """Keep all alive until the event is set."""
        await self._supervisor.supervise(until)

    async def stop(self) -> None:
        """Drain all in order, and let go of the home."""
        self._ready = False
        await self._supervisor.drain()
        self._held.close()

    def kill(self) -> None:
        """End all at once; a `stop` that goes on has nothing left to wait for."""
        self._supervisor.kill()

    async def _own_home(self) -> None:
        self._held.enter_context(self.home.owned())
        self.home.open()
        if before := self.home.read_running():
            await asyncio.to_thread(end_leftovers, before.children.values())
        self._note()
        self._held.callback(self.home.running.unlink, missing_ok=True)

    def _check_ports(self) -> None:
        needed = {
            processes.KAFKA: [
                (self.ports.kafka, "BARNABAS_LOCAL_KAFKA_PORT"),
                (self.ports.controller, "BARNABAS_LOCAL_KAFKA_CONTROLLER_PORT"),
            ],
            processes.VALKEY: [(self.ports.valkey, "BARNABAS_LOCAL_VALKEY_PORT")],
            processes.EDGE: [(self.ports.edge, "BARNABAS_EDGE_PORT")],
            **{name: [(port, "BARNABAS_LOCAL_METRICS_BASE_PORT")] for name, port in self.ports.metrics.items()},
        }
        for name in self._table:
            for port, setting in needed[name]:
                check_free(port, setting)

    async def _prepare_servers(self) -> None:
        if processes.KAFKA in self._table:
            with writing(self.home.path):
                kafka.configure(self.home.kafka, port=self.ports.kafka, controller_port=self.ports.controller)
            with self._step(JARS):
                jars = await asyncio.to_thread(kafka_classpath, self.settings.cache, progress=self._downloading)
            if not kafka.is_formatted(self.home.kafka):
                with self._step(FORMAT):
                    await asyncio.to_thread(kafka.format_storage, self.home.kafka, jars)
        if processes.VALKEY in self._table:
            with writing(self.home.path):
                valkey.configure(self.home.valkey, port=self.ports.valkey)

    def _downloading(self, told: str) -> None:
        """Show how far the download is; it runs in a thread, which nothing else can end."""
        if self._abandoned.is_set():
            raise DownloadError
        self._display.show(Row(JARS, State.STARTING, told))

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Show and time a step of the start."""
        self._display.show(Row(name, State.STARTING))
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            self._display.show(Row(name, State.FAILED, str(error)))
            raise
        self._steps.append((name, time.monotonic() - began))
        self._display.show(Row(name, State.READY, seconds=self._steps[-1][1]))

    def _note_children(self) -> None:
        """Note a process that was started; a full disk may not end the stack that runs."""
        try:
            self._note()
        except HomeError as error:
            self._display.show(Row(HOME, State.FAILED, str(error)))

    def _note(self) -> None:
        """Say in the home what runs."""
        self.home.write_running(
            Running(
                pid=os.getpid(),
                ready=self._ready,
                kafka_bootstrap=self.kafka_bootstrap,
                redis_url=self.redis_url,
                edge_url=self.edge_url,
                children=self._supervisor.children(),
                phases=self.phases,
            )
        )
