from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from barnabas import doctor
from barnabas.errors import HomeError, PortTakenError
from barnabas.local.home import MIGRATIONS, Home

if TYPE_CHECKING:
    from pathlib import Path

    from barnabas.local.stack import LocalStack

NOW = datetime(2026, 11, 22, 13, 0, 0, 400_000, tzinfo=UTC)
DATE = "Sun, 22 Nov 2026 13:00:00 GMT"


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False), ((4, 0), False)]
)
def test_the_versions_of_python_that_serve(version: tuple[int, int], ok: bool) -> None:
    assert doctor.python(version).ok is ok


@pytest.mark.parametrize(
    ("skew", "ok"),
    [(timedelta(0), True), (timedelta(seconds=1.5), True), (timedelta(seconds=3), False), (-timedelta(hours=1), False)],
)
def test_a_clock_that_is_off(skew: timedelta, ok: bool) -> None:
    assert doctor.clock(DATE, NOW + skew).ok is ok


def test_an_edge_without_a_clock() -> None:
    assert not doctor.clock(None, NOW).ok


def test_the_homes_layout(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert doctor.layout(home).ok
    home.version.write_text(f"{len(MIGRATIONS) + 1}\n")
    assert doctor.layout(home).ok
    for text in (f"{len(MIGRATIONS) + 2}\n", "0\n", "new\n"):
        home.version.write_text(text)
        assert not doctor.layout(home).ok


def test_a_home_without_a_layout_is_judged_as_up_does(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert "is empty" in doctor.layout(home).detail
    home.models.mkdir()
    check = doctor.layout(home)
    assert check.ok
    assert "holds models" in check.detail
    home.kafka.mkdir()
    check = doctor.layout(home)
    assert not check.ok
    assert "kafka" in check.detail
    with pytest.raises(HomeError):
        home.open()


async def test_services_that_run_by_hand_are_judged_by_their_edge(house: LocalStack, tmp_path: Path) -> None:
    by_hand = house.settings.model_copy(update={"home": tmp_path})
    checks = {check.name: check for check in await doctor.examine(by_hand)}
    assert "stack" not in checks
    assert {name for name, check in checks.items() if not check.ok} == set()
    assert {"Kafka", "Valkey", "edge", "clock", "streams.realtime"} <= checks.keys()
    assert all(not check.way_out for check in checks.values())
    silent = {check.name: check for check in await doctor.examine(by_hand.model_copy(update={"edge_port": 1}))}
    assert not silent["stack"].ok


def test_a_taken_port_is_named_with_its_setting() -> None:
    def check(port: int, setting: str) -> None:
        if port == 2:
            raise PortTakenError("port 2 can't be used", field=setting)

    assert doctor.free_ports([(1, "A"), (3, "C")], check).ok
    taken = doctor.free_ports([(1, "A"), (2, "B"), (3, "C")], check)
    assert (taken.ok, taken.detail, taken.way_out) == (False, "port 2 can't be used", "set B")


def test_services_are_expected_by_the_names_that_they_announce() -> None:
    children = ["kafka", "valkey", "streams-urgent", "timers", "inference-worker", "edge"]
    assert doctor.expected(children) == {"streams.urgent", "streams.timers", "inference_worker", "connectors"}


def test_a_machine_is_looked_at_where_no_home_is_yet(tmp_path: Path) -> None:
    check = doctor.disk(tmp_path / "not" / "there")
    assert check.detail.endswith(f"free at {tmp_path}")
