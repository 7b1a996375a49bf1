from __future__ import annotations

import json
from email import message_from_bytes
from typing import Any

import msgspec
import pytest

from barnabas.commands.run import Watching, summary_of
from barnabas.demo import MAILS, SAMPLES, Row

ROW = Row(
    step="cron",
    kind="cron.parse",
    tier="realtime",
    status="succeeded",
    latency_ms=12.3,
    topic="barnabas.tasks.realtime",
    partition=4,
    offset=0,
)
ANSWER = Row(
    step="model",
    kind="llm.chat",
    tier="urgent",
    status="succeeded",
    latency_ms=900.0,
    topic="barnabas.inference.urgent",
    partition=1,
    offset=2,
    first_token_ms=80.5,
    tokens=32,
)


def test_a_row_has_exactly_the_fields_of_the_contract() -> None:
    common = ["step", "kind", "tier", "status", "latency_ms", "topic", "partition", "offset"]
    assert list(ROW.line()) == common
    assert list(ANSWER.line()) == [*common, "first_token_ms", "tokens"]


def test_a_failed_row_keeps_them_and_says_why() -> None:
    failed = Row(
        step="web", kind="web.scrape", tier="realtime", status="failed", latency_ms=1.0,
        topic=None, partition=None, offset=None, error="no",
    )  # fmt: skip
    assert failed.line() == {**dict.fromkeys(ROW.line()), **failed.line()}
    assert (failed.line()["topic"], failed.line()["error"]) == (None, "no")


def test_json_lines_stand_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    watching = Watching(as_json=True)
    watching.note("beginning")
    watching.speak("Hel")
    watching.row(ROW, {})
    watching.speak("lo")
    watching.row(ANSWER, {"finish_reason": "stop"})
    watching.summary([ROW, ANSWER])
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [ROW.line(), ANSWER.line()]
    assert "Hello" in err


def test_nothing_is_said_into_the_middle_of_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    watching = Watching(as_json=False)
    watching.speak("Hel")
    watching.row(ROW, {})
    watching.speak("lo")
    watching.row(ANSWER, {"finish_reason": "stop"})
    assert capsys.readouterr().out.splitlines() == ["Hello", "✓ cron: done", "✓ model: the answer ended: stop"]


@pytest.mark.parametrize(
    ("kind", "result", "said"),
    [
        (
            "cron.parse",
            {"description": "Daily.", "fires": ["2026-01-01T00:00:00Z"]},
            "Daily. Next: 2026-01-01T00:00:00Z",
        ),
        ("mail.classify", {"subject": "Dinner", "top": "personal"}, "personal: Dinner"),
        ("web.scrape", {"data": {"title": "Bread", "hours": ["6 to 7", "8 to 9"]}}, "Bread: 6 to 7; 8 to 9"),
        ("web.scrape", {"title": "Bread", "final_url": "http://b", "data": None}, "Bread (http://b)"),
        ("web.scrape", {"text": "They bake\nbread.", "finish_reason": "stop"}, "They bake bread."),
        ("schedule", {"outcome": "fired", "task": "t"}, "fired; its task t succeeded"),
        ("mail.classify", None, "done"),
    ],
)
def test_a_result_is_told_in_a_line(kind: str, result: Any, said: str) -> None:
    assert summary_of(kind, result) == said


def test_the_samples_are_there() -> None:
    assert all(message_from_bytes((SAMPLES / f"{name}.eml").read_bytes())["Subject"] for name in MAILS)
    assert b"<h1>" in (SAMPLES / "page.html").read_bytes()


def test_a_row_survives_its_json() -> None:
    assert msgspec.convert(ANSWER.line(), Row) == ANSWER
