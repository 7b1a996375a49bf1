from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from backbone.settings import Settings
from barnabas.local.home import Home
from barnabas.local.lifecycle import drain_waves
from barnabas.local.ports import Ports
from barnabas.local.processes import WITH_METRICS_PORT, service_environment, table

HOME = Path("home").absolute()
SERVICES = [
    "streams-urgent",
    "streams-realtime",
    "streams-batch",
    "streams-low",
    "timers",
    "inference-worker",
    "edge",
]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BARNABAS_KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.delenv("BARNABAS_REDIS_URL", raising=False)


def _table(settings: Settings) -> dict[str, tuple[str, ...]]:
    ports = Ports.choose(settings, WITH_METRICS_PORT)
    return {process.name: process.command for process in table(settings, ports, Home(settings.home))}


def test_a_stack_is_two_servers_and_seven_services_each_a_command_that_runs_alone() -> None:
    commands = _table(Settings(home=HOME))
    assert list(commands) == ["kafka", "valkey", *SERVICES]
    assert commands["streams-urgent"] == (sys.executable, "-m", "streams", "--tier", "urgent")
    assert commands["timers"] == (sys.executable, "-m", "streams", "timers")
    assert commands["inference-worker"] == (sys.executable, "-m", "inference_worker")
    assert commands["edge"] == (sys.executable, "-m", "connectors")


def test_a_server_that_runs_elsewhere_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARNABAS_KAFKA_BOOTSTRAP", "broker:9092")
    assert list(_table(Settings(home=HOME))) == ["valkey", *SERVICES]
    monkeypatch.setenv("BARNABAS_REDIS_URL", "redis://elsewhere/0")
    assert list(_table(Settings(home=HOME))) == SERVICES


def test_services_are_told_where_everything_is_and_what_was_set() -> None:
    settings = Settings(
        home=HOME,
        local_kafka_port=11,
        local_valkey_port=12,
        edge_port=13,
        partitions=4,
        deterministic=True,
        handler_timeout=timedelta(seconds=3),
    )
    environment = service_environment(settings, Ports.choose(settings, WITH_METRICS_PORT))
    assert environment["BARNABAS_HOME"] == str(HOME)
    assert environment["BARNABAS_KAFKA_BOOTSTRAP"] == "127.0.0.1:11"
    assert environment["BARNABAS_REDIS_URL"] == "redis://127.0.0.1:12/0"
    assert environment["BARNABAS_EDGE_PORT"] == "13"
    assert environment["BARNABAS_LOCAL_CPU_CLASSES"] == "true"


def test_what_is_written_to_the_environment_is_read_back_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        home=HOME, partitions=4, deterministic=True, handler_timeout=timedelta(seconds=3), redis_url="redis://u:p@h/1"
    )
    for name, value in service_environment(settings, Ports.choose(settings, WITH_METRICS_PORT)).items():
        monkeypatch.setenv(name, value)
    read = Settings()
    for name in ("home", "partitions", "deterministic", "handler_timeout", "redis_url"):
        assert getattr(read, name) == getattr(settings, name)
    assert read.local_cpu_classes


def test_the_edge_drains_first_and_the_servers_last() -> None:
    settings = Settings(home=HOME)
    waves = drain_waves(table(settings, Ports.choose(settings, WITH_METRICS_PORT), Home(HOME)))
    assert [[process.name for process in wave] for wave in waves] == [["edge"], SERVICES[:-1], ["kafka", "valkey"]]


def test_a_tier_that_gives_way_to_everybody_may_be_silent_for_longer() -> None:
    settings = Settings(home=HOME)
    whole = table(settings, Ports.choose(settings, WITH_METRICS_PORT), Home(HOME))
    longest = max(process.patience.silences for process in whole)
    assert {process.name for process in whole if process.patience.silences == longest} == {
        "streams-batch",
        "streams-low",
    }


def test_only_the_worker_is_not_waited_for_and_each_service_has_a_health_port_of_its_own() -> None:
    settings = Settings(home=HOME, local_metrics_base_port=40000)
    whole = table(settings, Ports.choose(settings, WITH_METRICS_PORT), Home(HOME))
    assert [process.name for process in whole if process.slow] == ["inference-worker"]
    ports = {process.name: process.env.get("BARNABAS_METRICS_PORT") for process in whole}
    assert ports["streams-urgent"] == "40000"
    assert ports["inference-worker"] == "40005"
    assert ports["edge"] is None
