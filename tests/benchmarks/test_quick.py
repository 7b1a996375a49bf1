"""The short forms of the benchmarks that need no stack run to their end, and measure both sides."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mail", "web"])
def test_the_short_form_measures_both_sides(name, tmp_path):
    plot = tmp_path / "plot.svg"
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--json", "--plot", str(plot)]
    # Whether a goal is met on a loaded machine is no matter of a test.
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode in {0, 1}, done.stderr
    report = json.loads(done.stdout)
    assert report["name"] == name
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in report["rows"])
    assert plot.read_text().startswith("<svg")
