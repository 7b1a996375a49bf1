"""What a service's health port answers, and what the supervisor makes of it."""

from __future__ import annotations

from backbone.telemetry import HealthServer, Readiness
from barnabas.local.health import Health, HttpProbe, KafkaProbe, ValkeyProbe
from barnabas.local.ports import _free_ports


async def test_a_service_may_be_alive_and_not_ready_or_ready_and_stuck() -> None:
    port = next(_free_ports())
    readiness, alive = Readiness("loading the model"), [True]
    server = HealthServer("127.0.0.1", port, readiness, lambda: alive[0])
    probe = HttpProbe("127.0.0.1", port)
    server.start()
    try:
        assert await probe.check() == Health(ready=False, detail="loading the model")
        assert await probe.alive()
        readiness.is_ready()
        alive[0] = False
        assert await probe.check() == Health(ready=True)
        assert not await probe.alive()
    finally:
        server.stop()
    assert not await probe.alive()


async def test_who_does_not_listen_is_neither_ready_nor_alive() -> None:
    port = next(_free_ports())
    for probe in (
        HttpProbe("127.0.0.1", port),
        KafkaProbe("127.0.0.1", port),
        ValkeyProbe(f"redis://127.0.0.1:{port}"),
    ):
        assert not (await probe.check()).ready
        assert not await probe.alive()
