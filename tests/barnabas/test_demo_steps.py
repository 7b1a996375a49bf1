from __future__ import annotations

from typing import TYPE_CHECKING, Any

from barnabas.demo import Demo, Row
from barnabas.errors import ServiceFailedError

if TYPE_CHECKING:
    from barnabas.client import Client
    from barnabas.local.stack import LocalStack


class Attentive:
    """An audience that remembers."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}

    def note(self, text: str) -> None:
        """Hear nothing."""

    def row(self, row: Row, result: Any) -> None:
        """Remember what came of it."""
        self.results[row.step] = result

    def speak(self, text: str) -> None:
        """Hear nothing."""


async def no_model() -> None:
    """Say that no model will ever be there."""
    raise ServiceFailedError("the worker could not start")


async def test_each_step_is_done_and_one_that_fails_disturbs_no_other(house: LocalStack, client: Client) -> None:
    audience = Attentive()
    rows = await Demo(client, audience, page_port=house.ports.demo).run(no_model)
    by_step = {row.step: row for row in rows}
    assert list(by_step) == [
        "cron",
        "mail-invoice",
        "mail-newsletter",
        "mail-personal",
        "web",
        "timer",
        "model",
        "summary",
    ]
    assert {row.step for row in rows if row.status != "succeeded"} == {"model", "summary"}
    assert by_step["model"].error == "the worker could not start (local.service_failed)"
    assert by_step["model"].topic is None
    assert by_step["cron"].topic == "barnabas.tasks.realtime"
    assert by_step["mail-invoice"].topic == "barnabas.tasks.batch"
    assert by_step["timer"].topic == "barnabas.timers"
    assert audience.results["web"]["data"]["title"] == "Spring hours at Mill Lane Bakery"
    assert len(audience.results["web"]["data"]["hours"]) == 3
    assert [audience.results[f"mail-{name}"]["top"] for name in ("invoice", "newsletter", "personal")] == [
        "invoice",
        "newsletter",
        "personal",
    ]
    assert audience.results["cron"]["tz"] == "Europe/Berlin"
    assert audience.results["timer"]["outcome"] in {"fired", "late"}


async def test_a_page_that_may_not_be_reached_fails_its_step_alone(house: LocalStack, client: Client) -> None:
    demo = Demo(client, Attentive(), page_port=house.ports.demo, url="http://127.0.0.1:1/")
    rows = {row.step: row for row in await demo.run(no_model)}
    assert (rows["web"].status, rows["cron"].status, rows["timer"].status) == ("failed", "succeeded", "succeeded")
    assert rows["web"].error is not None
    assert "net.refused" in rows["web"].error
