"""The containers run what the local stack runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backbone.settings import Settings, TierTable
from barnabas.local import processes
from barnabas.local.home import Home
from barnabas.local.ports import Ports
from schemas.tiers import Tier

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict:
    """The file as the Compose program understands it."""
    program = Path(sys.executable).parent / "docker-compose"
    command = [program, "-f", ROOT / "docker-compose.yml", "config", "--format", "json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_each_service_runs_the_command_of_the_process_table(compose, tmp_path):
    settings = Settings(home=tmp_path)
    table = processes.table(settings, Ports.choose(settings, processes.WITH_METRICS_PORT), Home(tmp_path))
    theirs = {name: service["command"] for name, service in compose["services"].items() if "build" in service}
    ours = {process.name: ["python", *process.command[1:]] for process in table if process.command[1:2] == ("-m",)}
    assert theirs == ours
    assert set(compose["services"]) - set(theirs) == {"kafka", "valkey"}


def test_each_variable_is_a_setting(compose):
    known = {f"BARNABAS_{name.upper()}" for name in Settings.model_fields}
    for service in compose["services"].values():
        given = {name for name in service.get("environment") or {} if name.startswith("BARNABAS_")}
        assert given <= known


def test_tiers_have_the_cpu_weights_of_the_table(compose):
    for tier in Tier:
        assert compose["services"][f"streams-{tier}"]["cpu_shares"] == 1024 * TierTable()[tier].cpu_weight
