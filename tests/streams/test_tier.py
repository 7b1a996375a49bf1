"""A tier's app on the real Kafka and Valkey, under the real supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from datetime import timedelta
from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from backbone.ids import new_id
from backbone.kafka import name_of
from backbone.settings import TierTable
from schemas import topics
from schemas.records import DeadLetter, Status, TaskEvent
from schemas.tiers import Tier
from tests.support import Log, beside, produce_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from barnabas.local.stack import LocalStack

TASKS = topics.TASKS[Tier.REALTIME]
PAGE = "<html><head><title>Tides</title></head><body><p class=x>High water at nine.</p></body></html>"


class SlowSite:
    """A site on loopback that takes its time and counts what it is asked for, by many ports: each is a host of its own."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.asked: Counter[str] = Counter()
        self.changed = asyncio.Condition()

    async def page(self, request: web.Request) -> web.Response:
        async with self.changed:
            self.asked[request.query["n"]] += 1
            self.changed.notify_all()
        await asyncio.sleep(0.15)
        return web.Response(text=PAGE, content_type="text/html")

    async def until_asked(self, times: int) -> None:
        async with self.changed, asyncio.timeout(60):
            await self.changed.wait_for(lambda: self.asked.total() >= times)


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[SlowSite]:
    """The site, running."""
    it = SlowSite()
    app = web.Application()
    app.router.add_get("/", it.page)
    runner = web.AppRunner(app)
    await runner.setup()
    for _ in range(16):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.ports = [address[1] for address in runner.addresses]
    yield it
    await runner.cleanup()


@pytest.fixture(scope="module")
async def tier(settings, site, tmp_path_factory) -> AsyncIterator[LocalStack]:
    """The realtime tier's process under the supervisor, on the Kafka and Valkey of the run."""
    home = tmp_path_factory.mktemp("tier") / "home"
    # What a noisy machine takes to start a process twice is not what is tested here: tasks may wait.
    tiers = TierTable(realtime=TierTable().realtime.model_copy(update={"start_by": timedelta(seconds=100)}))
    allowed = tuple(f"127.0.0.1/32:{port}" for port in site.ports)
    rules = {"net_allow": allowed, "host_pause": timedelta(0), "tiers": tiers}
    # The timer service tries again what found its host in use.
    async with beside(settings, home, "streams-realtime", "timers", **rules) as running:
        yield running


def ended(ids: set[str]) -> Callable[[list[TaskEvent]], bool]:
    return lambda events: ids <= {event.task_id for event in events if event.status.terminal}


async def test_a_task_from_any_client_runs_and_its_events_are_told_in_order(tier, settings):
    identity = new_id()
    task = {"id": identity, "kind": "cron.parse", "payload": {"expression": "*/5 * * * *", "count": 2}}
    async with Log(settings, topics.RESULTS) as results:
        await produce_bytes(settings, TASKS, json.dumps(task).encode())
        events = [e for e in await results.until(ended({identity})) if e.task_id == identity]
    assert [event.status for event in events] == [Status.STARTED, Status.SUCCEEDED]
    assert len(json.loads(events[-1].result)["fires"]) == 2


async def test_bytes_that_are_no_task_are_a_dead_letter_with_their_place_and_the_stream_goes_on(tier, settings):
    identity = new_id()
    good = json.dumps({"id": identity, "kind": "cron.parse", "payload": {"expression": "@daily"}}).encode()
    async with Log(settings, topics.DEAD_LETTERS) as letters, Log(settings, topics.RESULTS) as results:
        await produce_bytes(settings, TASKS, b"{nonsense", good)
        (letter,) = await letters.until(bool)
        await results.until(ended({identity}))
    assert isinstance(letter, DeadLetter)
    assert (letter.raw, letter.topic, letter.error.code) == (
        b"{nonsense", name_of(settings, TASKS), "record.malformed",
    )  # fmt: skip


async def test_a_hundred_tasks_survive_two_kills_each_with_one_outcome(tier, settings, site):
    ids = {new_id() for _ in range(100)}
    tasks = [
        {"id": i, "kind": "web.scrape",
         "payload": {"url": f"http://127.0.0.1:{port}/?n={i}", "selectors": {"text": "p.x::text"}}}
        for i, port in zip(sorted(ids), cycle(site.ports), strict=False)
    ]  # fmt: skip
    async with Log(settings, topics.RESULTS) as results:
        await produce_bytes(settings, TASKS, *(json.dumps(task).encode() for task in tasks))
        for asked in (25, 60):
            await site.until_asked(asked)
            os.kill(tier.pid("streams-realtime"), signal.SIGKILL)
        events = await results.until(ended(ids))
    terminal = [event for event in events if event.task_id in ids and event.status.terminal]
    outcomes = {(event.task_id, event.status, event.result) for event in terminal}
    assert Counter(status for _, status, _ in outcomes) == {Status.SUCCEEDED: 100}
    assert {json.loads(result)["data"]["text"] for _, _, result in outcomes} == {"High water at nine."}
    # What was running when the process was killed ran again; the killed tasks are at most one for each partition.
    assert 100 < site.asked.total() <= 100 + 2 * settings.partitions
