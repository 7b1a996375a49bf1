"""The wheel holds every file of the packages, those that are no Python too."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_the_wheel_holds_all_that_the_packages_need_at_run_time(tmp_path: Path) -> None:
    subprocess.run(
        (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)),
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    needed = {
        file.relative_to(ROOT).as_posix()
        for package in packages
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert needed <= shipped
    assert {f"{package}/py.typed" for package in packages} <= shipped
    assert {"barnabas/local/kafka-4.3.1.sha256", "barnabas/samples/page.html", "schemas/avro/ids.json"} <= shipped
    assert {".py", ".sha256", ".eml", ".html", ".avsc", ".json", ".proto"} <= {
        PurePosixPath(name).suffix for name in shipped
    }
    assert {PurePosixPath(name).name for name in shipped} >= {"LICENSE", "entry_points.txt"}
    assert not {name for name in shipped if name.startswith(("tests/", "benchmarks/", "infra/"))}
