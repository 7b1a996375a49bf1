from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from barnabas.cli import app
from barnabas.commands.work import read_payload, wants
from barnabas.errors import (
    BackupError,
    EdgeError,
    NoStackError,
    NotRunningError,
    TaskCancelledError,
    TaskExpiredError,
    TaskFailedError,
    UsageError,
    WaitTimeoutError,
)
from barnabas.exit_codes import ExitCode, code_of
from schemas.errors import BarnabasError, Problem

ROOT = Path(__file__).parents[2]
PROBLEM = Problem("some.code", "why")
SUBMIT = ["submit", "cron.parse", '{"expression": "@daily"}']


@pytest.fixture(autouse=True)
def no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stack anywhere."""
    monkeypatch.setenv("BARNABAS_HOME", str(tmp_path))
    for name in ("BARNABAS_URL", "BARNABAS_API_KEY", "BARNABAS_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_exit_codes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    assert {(code.value, code.name) for code in ExitCode} == {
        (int(number), name) for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", page, re.MULTILINE)
    }


def test_commands_and_options_are_those_of_the_page() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    told = {
        name: set(re.findall(r"--[a-z-]+", rest))
        for name, rest in re.findall(r"^\| `barnabas ([a-z]+)([^`]*)` \|", page, re.MULTILINE)
    }
    group: Any = typer.main.get_command(app)
    real = {
        name: {option for param in command.params for option in param.opts if option.startswith("--")}
        for name, command in group.commands.items()
    }
    assert told == real


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoStackError(), ExitCode.NO_STACK),
        (NotRunningError(), ExitCode.NO_STACK),
        (TaskExpiredError(PROBLEM, task_id="t"), ExitCode.TIMEOUT),
        (WaitTimeoutError(), ExitCode.TIMEOUT),
        (UsageError("no"), ExitCode.USAGE),
        (TaskFailedError(PROBLEM, task_id="t"), ExitCode.FAILED),
        (TaskCancelledError(PROBLEM, task_id="t"), ExitCode.FAILED),
        (EdgeError(PROBLEM), ExitCode.FAILED),
        (BackupError(), ExitCode.FAILED),
    ],
)
def test_each_error_has_its_exit_code(error: BarnabasError, code: ExitCode) -> None:
    assert code_of(error) is code


def test_help_imports_nothing_heavy() -> None:
    heavy = {"aiokafka", "confluent_kafka", "httpx", "redis", "requests", "torch", "websockets"}
    code = "import sys, barnabas.cli, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert heavy & set(loaded) == set()


def test_no_stack_is_exit_code_3_with_the_way_out() -> None:
    done = CliRunner().invoke(app, SUBMIT)
    assert (done.exit_code, done.stdout) == (ExitCode.NO_STACK, "")
    assert "barnabas up" in done.stderr


def test_an_edge_that_does_not_answer_is_no_stack(closed_port: int) -> None:
    environ = {"BARNABAS_URL": f"http://127.0.0.1:{closed_port}", "BARNABAS_API_KEY": "bk"}
    for command in (SUBMIT, ["ask", "hello"], ["tail"], ["kinds"]):
        done = CliRunner().invoke(app, [*command, "--json"], env=environ)
        assert done.exit_code == ExitCode.NO_STACK, done.stderr
        assert json.loads(done.stderr)["error"]["code"] == "client.no_stack"


@pytest.mark.parametrize("payload", ["{", "[1]", "@missing.json"])
def test_a_payload_that_is_none_is_wrong_usage(payload: str) -> None:
    environ = {"BARNABAS_URL": "http://127.0.0.1:1", "BARNABAS_API_KEY": "bk"}
    done = CliRunner().invoke(app, ["submit", "cron.parse", payload], env=environ)
    assert done.exit_code == ExitCode.USAGE
    assert "payload" in done.stderr


def test_a_tier_that_is_none_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, [*SUBMIT, "--tier", "soon"]).exit_code == ExitCode.USAGE


def test_a_payload_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"raw": "From: ä"}', encoding="utf-8")
    assert read_payload(f"@{file}") == {"raw": "From: ä"}
    assert read_payload('{"a": 1}') == {"a": 1}


def test_what_a_kind_wants_is_told_in_a_few_words() -> None:
    assert wants({"properties": {"expression": {}, "tz": {}}, "required": ["expression"]}) == "expression, tz?"
    assert wants({}) == ""


def test_doctor_says_what_to_do_where_no_stack_runs() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    checks = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
    assert done.exit_code == ExitCode.FAILED
    assert checks["Python"]["ok"]
    assert checks["Java"]["ok"]
    assert not checks["stack"]["ok"]
    assert all(check["way_out"] for check in checks.values() if not check["ok"])


def test_topics_without_a_broker_is_no_stack(closed_port: int) -> None:
    code = "from barnabas.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "topics"],
        env={"BARNABAS_KAFKA_BOOTSTRAP": f"127.0.0.1:{closed_port}", "BARNABAS_HOME": "/nonexistent"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == ExitCode.NO_STACK
    assert "no broker answers" in done.stderr
