"""The containers run what the local stack runs."""

from __future__ import annotations

import json
import re
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
    return read("docker-compose.yml")


def read(*names: str) -> dict:
    program = Path(sys.executable).parent / "docker-compose"
    files = [part for name in names for part in ("-f", ROOT / name)]
    command = [program, *files, "config", "--format", "json"]
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


def test_all_services_share_the_volume_of_blobs(compose):
    for service in compose["services"].values():
        if "build" in service:
            path = service["environment"]["BARNABAS_BLOB_URL"].removeprefix("file://")
            assert {volume["source"] for volume in service["volumes"] if volume["target"] == path} == {"blobs"}


def test_tiers_have_the_cpu_weights_of_the_table(compose):
    for tier in Tier:
        assert compose["services"][f"streams-{tier}"]["cpu_shares"] == 1024 * TierTable()[tier].cpu_weight


def test_with_the_browser_only_the_image_of_the_tiers_is_another(compose):
    rendered = read("docker-compose.yml", "docker-compose.rendered.yml")
    tiers = {f"streams-{tier}" for tier in Tier}
    assert {name for name in compose["services"] if compose["services"][name] != rendered["services"][name]} == tiers
    for name in tiers:
        plain, other = compose["services"][name], rendered["services"][name]
        assert other["build"].pop("target") == "streams-rendered"
        assert {key for key, value in other.items() if plain.get(key) != value} == {
            "build",
            "cap_drop",
            "image",
            "init",
            "security_opt",
        }


def test_each_target_is_in_the_file_of_images(compose):
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "infra/docker/Dockerfile").read_text(), re.MULTILINE)
    both = (compose, read("docker-compose.yml", "docker-compose.rendered.yml"))
    assert {one["build"]["target"] for file in both for one in file["services"].values() if "build" in one} <= set(
        stages
    )


def test_the_lock_with_the_browser_is_that_of_the_tiers_and_more():
    def pinned(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    more = pinned("streams-rendered.lock") - pinned("streams.lock")
    assert pinned("streams.lock") <= pinned("streams-rendered.lock")
    assert any(one.startswith("playwright==") for one in more)
