"""The one table of processes of a local stack: what runs, how, and in which order it drains.

The servers start first, then the topics are made, then the services start together:

    kafka ─┐                ┌─ streams-urgent, -realtime, -batch, -low
           ├─ the topics ───┼─ timers
    valkey ┘                ├─ inference-worker
                            └─ edge

Compose and Terraform run the same commands; tests hold them against this table.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import SecretStr

from backbone.ids import derived_id
from backbone.settings import CpuClass
from barnabas.local import kafka, valkey
from barnabas.local.health import HttpProbe, KafkaProbe, Probe, ValkeyProbe
from barnabas.local.jars import classpath
from barnabas.local.lifecycle import Patience, Restart
from barnabas.local.ports import HOST
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backbone.settings import Settings
    from barnabas.local.home import Home
    from barnabas.local.ports import Ports

KAFKA = "kafka"
VALKEY = "valkey"
EDGE = "edge"
WORKER = "inference-worker"

MODULES: Mapping[str, tuple[str, ...]] = {
    **{f"streams-{tier}": ("streams", "--tier", tier.value) for tier in Tier},
    "timers": ("streams", "timers"),
    WORKER: ("inference_worker",),
    EDGE: ("connectors",),
}
"""What `python -m` runs for each service."""

NAMES = (KAFKA, VALKEY, *MODULES)

WITH_METRICS_PORT = tuple(name for name in MODULES if name != EDGE)
"""The services without an edge, in the order of their ports: the first has `local_metrics_base_port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process.

    Attributes:
        name: how people and logs call it.
        command: program and arguments.
        probe: tells whether it is ready.
        env: what is added to the supervisor's environment.
        drain_order: lower stops first.
        drain_timeout: seconds it may take to stop before it is killed.
        start_timeout: seconds it may take to be ready before it counts as failed.
        slow: whether the stack is ready without it.
        restart: when it is started again.
        retry: when a slow starter that could not start is tried again: a full disk takes a person's time to mend.
        patience: how long it may give no sign of life.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe
    env: Mapping[str, str] = field(default_factory=dict)
    drain_order: int
    drain_timeout: float
    start_timeout: float
    slow: bool = False
    restart: Restart = field(default_factory=Restart)
    retry: Restart = field(default_factory=lambda: Restart(first=30.0, longest=600.0))
    patience: Patience = field(default_factory=Patience)


def table(settings: Settings, ports: Ports, home: Home) -> tuple[Process, ...]:
    """Return all processes; an embedded server is left out where the settings name one that runs elsewhere."""
    servers = []
    if embeds_kafka(settings):
        servers.append(_kafka(settings, ports, home))
    if embeds_valkey(settings):
        servers.append(_valkey(ports, home))
    environment = service_environment(settings, ports)
    return (*servers, *(_service(name, settings, ports, environment) for name in MODULES))


def embeds_kafka(settings: Settings) -> bool:
    """Whether this stack has a Kafka of its own: nobody named another."""
    return not ("kafka_bootstrap" in settings.model_fields_set and settings.kafka_bootstrap)


def embeds_valkey(settings: Settings) -> bool:
    """Whether this stack has a Valkey of its own: nobody named another."""
    return not ("redis_url" in settings.model_fields_set and settings.redis_url.get_secret_value())


def kafka_bootstrap(settings: Settings, ports: Ports) -> str:
    """Return where the services find Kafka."""
    return f"{HOST}:{ports.kafka}" if embeds_kafka(settings) else settings.kafka_bootstrap


def redis_url(settings: Settings, ports: Ports) -> str:
    """Return where the services find Valkey or Redis."""
    return f"redis://{HOST}:{ports.valkey}/0" if embeds_valkey(settings) else settings.redis_url.get_secret_value()


def service_environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """Return what each service gets in its environment: every setting that somebody set, and where things are."""
    written = settings.model_dump(mode="json")
    given = {f"BARNABAS_{name.upper()}": _as_text(written[name]) for name in settings.model_fields_set}
    secret = {
        f"BARNABAS_{name.upper()}": value.get_secret_value()
        for name in settings.model_fields_set
        if isinstance(value := getattr(settings, name), SecretStr)
    }
    return {
        **given,
        **secret,
        "BARNABAS_HOME": str(settings.home),
        "BARNABAS_KAFKA_BOOTSTRAP": kafka_bootstrap(settings, ports),
        "BARNABAS_REDIS_URL": redis_url(settings, ports),
        "BARNABAS_EDGE_PORT": str(ports.edge),
        "BARNABAS_LOCAL_CPU_CLASSES": "true",
        "BARNABAS_NET_ALLOW": ",".join((*settings.net_allow, f"{HOST}/32:{ports.demo}")),
        "PYTHONUNBUFFERED": "1",
    }


def _as_text(value: object) -> str:
    """Return a setting as it is written in the environment."""
    match value:
        case str():
            return value
        case None:
            return ""
        case list():
            return ",".join(str(item) for item in value)
        case _:
            return json.dumps(value)


def _kafka(settings: Settings, ports: Ports, home: Home) -> Process:
    return Process(
        name=KAFKA,
        command=kafka.command(home.kafka, classpath(settings.cache)),
        env=kafka.ENVIRONMENT,
        probe=KafkaProbe(HOST, ports.kafka),
        drain_order=2,
        drain_timeout=20,
        start_timeout=90,
    )


def _valkey(ports: Ports, home: Home) -> Process:
    return Process(
        name=VALKEY,
        command=valkey.command(home.valkey),
        probe=ValkeyProbe(f"redis://{HOST}:{ports.valkey}/0"),
        drain_order=2,
        drain_timeout=10,
        start_timeout=60,
    )


def _service(name: str, settings: Settings, ports: Ports, environment: Mapping[str, str]) -> Process:
    port = ports.edge if name == EDGE else ports.metrics[name]
    idle = {f"streams-{tier}" for tier in Tier if settings.tiers[tier].cpu_class is CpuClass.IDLE}
    # There is one process of each name in a home: it takes its own partitions up again, without waiting for its session to end.
    own = {"BARNABAS_GROUP_INSTANCE": f"{derived_id(str(settings.home))[:8]}-{name}"}
    if name != EDGE:
        own["BARNABAS_METRICS_PORT"] = str(port)
    return Process(
        name=name,
        command=(sys.executable, "-m", *MODULES[name]),
        probe=HttpProbe(HOST, port),
        env={**environment, **own},
        # The edge first, so that nothing new is accepted; then those who work.
        drain_order=0 if name == EDGE else 1,
        # Whoever runs a handler may finish it; what is killed all the same is delivered again.
        drain_timeout=10 if name == EDGE else settings.handler_timeout.total_seconds() + 5,
        # A worker may have a model to convert, which takes minutes on its first start; the tiers serve meanwhile.
        start_timeout=900 if name == WORKER else 120,
        slow=name == WORKER,
        # A tier that gets the processor only when nobody else wants it is slow to answer, and not stuck.
        patience=Patience(silences=60) if name in idle else Patience(),
    )
