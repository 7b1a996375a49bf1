"""A kind that another package brings: installed as its README says, beside Barnabas, and used over the edge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from barnabas.exit_codes import ExitCode
from tests.barnabas.tools import barnabas
from tests.support import apart, beside, until

if TYPE_CHECKING:
    from barnabas.local.stack import LocalStack

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "barnabas-invoice"
LINES = [{"name": "Oars", "quantity": 2, "price": "19.99", "tax": 19}, {"name": "Tide table", "price": 7.5, "tax": 7}]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package, built and installed without a look at any registry."""
    folder = tmp_path_factory.mktemp("installed")
    command = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--offline", "--no-deps")
    subprocess.run(
        (*command, "--no-build-isolation", "--python", sys.executable, "--target", str(folder), str(EXAMPLE)),
        check=True,
        timeout=120,
    )
    return folder


@pytest.fixture(scope="module")
async def house(stack: LocalStack, installed: Path, tmp_path_factory):
    """A tier that finds the package, and an edge."""
    settings = await apart(stack.settings, "plug-in-tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(installed))
        home = tmp_path_factory.mktemp("house") / "home"
        async with beside(settings, home, "streams-realtime", "edge", edge_port=0) as running:
            yield running


async def test_its_kind_is_listed_with_what_it_takes_and_gives(house):
    async def announced() -> bool:
        return (await barnabas(house, "kinds", "invoice.total", "--json")).code == ExitCode.OK

    await until(announced, limit=60)
    listed = {
        kind["kind"]: kind for kind in map(json.loads, (await barnabas(house, "kinds", "--json")).out.splitlines())
    }
    kind = listed["invoice.total"]
    assert kind == json.loads((await barnabas(house, "kinds", "invoice.total", "--json")).out)
    assert (kind["description"], kind["tier"], kind["service"]) == ("Add up an invoice.", "realtime", "streams")
    jsonschema.validate({"currency": "EUR", "lines": LINES}, kind["payload_schema"])
    assert {"net", "gross", "rates"} <= kind["result_schema"]["properties"].keys()
    assert "cron.parse" in listed


async def test_a_kind_that_nobody_serves_is_refused_by_name(house):
    done = await barnabas(house, "kinds", "invoice.totals", "--json")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    problem = json.loads(done.err)["error"]
    assert (problem["code"], problem["field"]) == ("kind.unknown", "kind")


async def test_it_does_its_work_and_tells_how_far_it_is(house):
    payload = {"currency": "EUR", "lines": LINES}
    done = await barnabas(house, "submit", "invoice.total", json.dumps(payload), "--json")
    assert done.code == ExitCode.OK, done.err
    total = json.loads(done.out)
    assert (total["net"], total["tax_amount"], total["gross"]) == ("47.48", "8.13", "55.61")
    assert "2 lines" in done.err


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"currency": "XAU", "lines": LINES}, "payload.currency"),  # the handler's own error
        ({"currency": "EUR", "lines": [LINES[0] | {"tax": 101}]}, "payload.lines.0.tax"),  # its schema's, at the edge
    ],
)
async def test_a_bad_payload_is_an_error_that_names_the_field(house, payload, field):
    done = await barnabas(house, "submit", "invoice.total", json.dumps(payload), "--json")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    problem = json.loads(done.err.splitlines()[-1])["error"]
    assert (problem["code"], problem["field"]) == ("payload.invalid", field)


def test_its_own_tests_pass(installed):
    subprocess.run(
        (sys.executable, "-m", "pytest", "-q", str(EXAMPLE)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        timeout=120,
    )
