"""Handlers are found by their entry points, and what is wrong with one is told before a tier serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backbone.errors import SettingsError
from backbone.settings import Settings
from streams import registry

if TYPE_CHECKING:
    from pathlib import Path

HANDLER = """
from pydantic import BaseModel
from schemas.tiers import Tier
from streams.handlers.port import Context, Handler

class Empty(BaseModel):
    pass

class Odd(Handler[Empty, Empty]):
    kind = "{kind}"
    tier = Tier.LOW
    payload = result = Empty

    async def run(self, payload: Empty, context: Context) -> Empty:
        return payload
"""


def _install(folder: Path, name: str, point: str, *, kind: str = "", module: str = "") -> None:
    """Put a distribution with one entry point into a folder, as an installer leaves it."""
    (folder / f"{name}.py").write_text(module or HANDLER.format(kind=kind))
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[barnabas.handlers]\n{point} = {name}:Odd\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_package_that_is_installed_adds_its_kind(packages: Path, tmp_path: Path) -> None:
    _install(packages, "adds_one", "odd.one", kind="odd.one")
    handlers = registry.load(Settings(home=tmp_path))
    assert {"cron.parse", "odd.one"} <= set(handlers)
    assert registry.announcement(handlers["odd.one"]).tier == "low"


def test_a_second_package_may_not_take_a_kind_silently(packages: Path, tmp_path: Path) -> None:
    _install(packages, "takes_cron", "cron.parse", kind="cron.parse")
    with pytest.raises(SettingsError, match=r"takes_cron.*uninstall one") as refused:
        registry.load(Settings(home=tmp_path))
    assert refused.value.field == "cron.parse"


def test_an_entry_point_under_another_name_is_refused(packages: Path, tmp_path: Path) -> None:
    _install(packages, "misnamed", "odd.two", kind="odd.three")
    with pytest.raises(SettingsError, match=r"serves the kind 'odd\.three'"):
        registry.load(Settings(home=tmp_path))


def test_an_entry_point_that_is_no_handler_is_refused(packages: Path, tmp_path: Path) -> None:
    _install(packages, "no_handler", "odd.four", module="Odd = 4\n")
    with pytest.raises(SettingsError, match="no subclass"):
        registry.load(Settings(home=tmp_path))
