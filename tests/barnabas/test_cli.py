from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from typer.testing import CliRunner

from backbone.settings import settings
from barnabas.cli import app
from barnabas.commands.work import tagged, wants
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
from barnabas.local.home import Home
from barnabas.output import plain
from barnabas.payload import NoJsonError, parsed, wrapped
from barnabas.replies import Event, Receipt
from schemas.errors import BarnabasError, Problem
from schemas.records import Status
from schemas.tiers import Tier
from tests.barnabas.tools import command_of, options

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROBLEM = Problem("some.code", "why")
SUBMIT = ["submit", "cron.parse", '{"expression": "@daily"}']


@pytest.fixture(autouse=True)
def no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No stack anywhere; a command reads its settings anew."""
    settings.cache_clear()
    monkeypatch.setenv("BARNABAS_HOME", str(tmp_path))
    for name in ("BARNABAS_URL", "BARNABAS_API_KEY", "BARNABAS_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield
    settings.cache_clear()


def test_exit_codes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    assert {(code.value, code.name) for code in ExitCode} == {
        (int(number), name) for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", page, re.MULTILINE)
    }


def test_commands_and_options_are_those_of_the_page() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    told = {
        command_of(typed): set(re.findall(r"--[a-z-]+", typed))
        for typed in re.findall(r"^\| `barnabas ([^`]*)` \|", page, re.MULTILINE)
    }
    real = {name: {option for option in of if option.startswith("--")} for name, of in options().items()}
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


@pytest.mark.parametrize(
    ("arguments", "field", "says"),
    [
        ([*SUBMIT, "--tier", "soon"], "tier", "'soon' is not one of"),
        (["kinds", "--bogus"], "bogus", "--bogus"),
        (["no-such-command"], None, "no-such-command"),
        (["submit"], "kind", "kind"),
        (["reset"], "yes", "--yes"),
    ],
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_wrong_usage_is_json_where_json_was_asked_for(
    arguments: list[str], field: str | None, says: str, place: str
) -> None:
    head, *rest = arguments
    done = CliRunner().invoke(app, [head, "--json", *rest] if place == "first" else [*arguments, "--json"])
    assert (done.exit_code, done.stdout) == (ExitCode.USAGE, "")
    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["field"], error["retryable"]) == ("cli.usage", field, False)
    assert says in error["message"]


@pytest.mark.parametrize("command", [["down"], ["backup", "b.tar.gz"], ["restore", "b.tar.gz"], ["up", "--only", "x"]])
def test_an_error_of_the_local_stack_is_four_fields_on_standard_error(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code != 0
    assert done.stdout == ""
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error.keys() == {"code", "message", "field", "retryable"}
    assert error["code"].startswith("local.")


def test_the_version_is_told() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"barnabas {version('barnabas-backbone')}\n")


def test_reset_of_a_home_that_is_empty_has_nothing_to_do(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / "missing"):
        settings.cache_clear()
        done = CliRunner().invoke(app, ["reset", "--yes", "--json"], env={"BARNABAS_HOME": str(home)})
        assert (done.exit_code, json.loads(done.stdout)) == (0, {"reset": str(home)})


def test_a_backup_says_whose_data_are_not_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.owned():
        home.open()
    elsewhere = {
        "BARNABAS_HOME": str(home.path),
        "BARNABAS_KAFKA_BOOTSTRAP": "broker:9092",
        "BARNABAS_REDIS_URL": "redis://elsewhere/0",
        "BARNABAS_BLOB_URL": "s3://elsewhere",
    }
    file = tmp_path / "b.tar.gz"
    done = CliRunner().invoke(app, ["backup", str(file), "--json"], env=elsewhere)
    told = CliRunner().invoke(app, ["backup", str(file), "--force"], env=elsewhere)
    assert [re.search("BARNABAS_[A-Z_]+", one)[0] for one in json.loads(done.stdout)["left_out"]] == [
        "BARNABAS_KAFKA_BOOTSTRAP",
        "BARNABAS_REDIS_URL",
        "BARNABAS_BLOB_URL",
    ]
    assert "not in it" in told.stderr


def test_times_are_printed_as_the_edge_writes_them() -> None:
    at = datetime(2026, 11, 22, 14, 0, 0, 120_000, tzinfo=UTC)
    event = Event(
        task="t", kind="k", tier=Tier.LOW, status=Status.STARTED, attempt=1, at=at, topic="r", partition=0, offset=1
    )
    assert plain([event])[0]["at"] == "2026-11-22T14:00:00.120Z"


def test_a_receipt_is_printed_as_the_websocket_says_it() -> None:
    at = "2026-11-22T14:00:00.120Z"
    said = {
        "type": "accepted",
        "task": {
            "id": "t",
            "key": "t",
            "kind": "llm.chat",
            "tier": "low",
            "status": "accepted",
            "topic": "tasks",
            "partition": 0,
            "offset": 1,
            "created_at": at,
            "start_by": at,
            "deadline": at,
        },
    }
    assert tagged(msgspec.convert(said["task"], Receipt)) == said


def test_a_payload_is_a_json_object() -> None:
    assert parsed('{"raw": "From: ä"}'.encode()) == {"raw": "From: ä"}
    with pytest.raises(NoJsonError):
        parsed(b"From: a")
    with pytest.raises(UsageError, match="object"):
        parsed(b"[]")


def test_a_file_that_is_no_json_is_the_raw_field_of_a_kind_that_has_one() -> None:
    mail = {"raw", "raw_base64", "labels"}
    assert wrapped("From: ä\r\n".encode(), mail) == {"raw": "From: ä\r\n"}
    assert wrapped(b"From: \xff", mail) == {"raw_base64": "RnJvbTog/w=="}
    assert wrapped(b"From: \xff", {"raw"}) is None
    assert wrapped(b"From: a", {"expression"}) is None


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
    assert all(bool(check["way_out"]) is not check["ok"] for check in checks.values())


@pytest.mark.slow
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
