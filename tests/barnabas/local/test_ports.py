from __future__ import annotations

import os
import socket

import pytest

from backbone.settings import Settings
from barnabas.errors import PortTakenError
from barnabas.local.ports import FREE_PORTS, Ports, check_free


def test_a_taken_port_is_named_with_the_setting_and_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTakenError) as caught:
            check_free(port, "BARNABAS_LOCAL_KAFKA_PORT")
    assert f"port {port}" in caught.value.message
    assert f"process {os.getpid()}," in caught.value.message
    assert "set BARNABAS_LOCAL_KAFKA_PORT" in caught.value.message
    assert caught.value.field == "BARNABAS_LOCAL_KAFKA_PORT"
    check_free(port, "BARNABAS_LOCAL_KAFKA_PORT")


def test_ports_are_those_of_the_settings() -> None:
    settings = Settings(local_kafka_port=1, local_kafka_controller_port=2, local_valkey_port=3, edge_port=4)
    ports = Ports.choose(settings.model_copy(update={"local_metrics_base_port": 10}), ("a", "b"))
    assert (ports.kafka, ports.controller, ports.valkey, ports.edge) == (1, 2, 3, 4)
    assert ports.metrics == {"a": 10, "b": 11}


def test_zero_means_a_free_port_and_each_another() -> None:
    ports = Ports.choose(Settings(**FREE_PORTS), ("a", "b"))
    chosen = [ports.kafka, ports.controller, ports.valkey, ports.edge, *ports.metrics.values()]
    assert len(set(chosen)) == 6
    for port in chosen:
        check_free(port, "")
