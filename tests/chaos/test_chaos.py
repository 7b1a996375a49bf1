"""The short form of `make chaos`, on a stack of its own: its Kafka is killed."""

from __future__ import annotations

import pytest

from tests.chaos.plan import Plan
from tests.chaos.run import chaos

SEED = 4


@pytest.mark.stack
@pytest.mark.timeout(420)
async def test_a_stack_whose_workers_timers_and_servers_are_killed_keeps_every_promise(tmp_path, monkeypatch):
    for name in ("PYTHONPATH", "CHAOS_NOTES"):
        monkeypatch.setenv(name, "")  # the run sets them for its services
    report = await chaos(Plan.short(SEED), tmp_path)
    assert report.broken == []
    assert sum(report.accepted.values()) == 160
    assert {"kafka kill", "tier freeze", "tier kill", "timers kill", "valkey kill"} <= {
        row.kind for row in report.faults
    }
    assert report.slots["fired"] > 0
    assert report.handed > 0
