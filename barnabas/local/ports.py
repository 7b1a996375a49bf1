"""The ports of a local stack: chosen from the settings, and looked at before anything starts."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from barnabas.errors import PortTakenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backbone.settings import Settings

HOST = "127.0.0.1"

FREE_PORTS: Mapping[str, Any] = dict.fromkeys(
    (
        "local_kafka_port",
        "local_kafka_controller_port",
        "local_valkey_port",
        "local_metrics_base_port",
        "edge_port",
        "demo_port",
    ),
    0,
)
"""`Settings(**FREE_PORTS)`: every listener takes any free port, so that stacks can run side by side."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The port of each listener; `metrics` by the name of the service, `demo` of the page that the demo scrapes."""

    kafka: int
    controller: int
    valkey: int
    edge: int
    demo: int
    metrics: Mapping[str, int]

    @classmethod
    def choose(cls, settings: Settings, services: Sequence[str]) -> Ports:
        """Return the ports that the settings name, and a free one for each that is 0.

        Args:
            settings: the settings.
            services: names of the services without an edge, in the order of their metrics ports.
        """
        free = _free_ports()
        base = settings.local_metrics_base_port
        return cls(
            kafka=settings.local_kafka_port or next(free),
            controller=settings.local_kafka_controller_port or next(free),
            valkey=settings.local_valkey_port or next(free),
            edge=settings.edge_port or next(free),
            demo=settings.demo_port or next(free),
            metrics={name: base + n if base else next(free) for n, name in enumerate(services)},
        )


def _free_ports(count: int = 32) -> Iterator[int]:
    """Yield ports that are free now; all are held together, so that none comes twice."""
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            listener = held.enter_context(socket.socket())
            listener.bind((HOST, 0))
            ports.append(listener.getsockname()[1])
    yield from ports


def check_free(port: int, setting: str) -> None:
    """Check that a port can be listened on.

    Args:
        port: the port.
        setting: the variable that moves it.

    Raises:
        PortTakenError: naming the port, the setting and, where it can be seen, the process that has it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} can't be used ({error.strerror}; {_holder(port)}): "
                f"stop what has it, or set {setting} to another port",
                field=setting,
            ) from None


def _holder(port: int) -> str:
    """Return who listens on a port, as far as this user may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "this user may not see by whom"
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            if connection.pid is None:
                break
            return f"process {connection.pid}, {psutil.Process(connection.pid).name()}, listens on it"
    return "by whom can't be seen"
