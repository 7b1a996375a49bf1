"""Schedules by the commands and the clients, with the real timer service and tier: they fire, rest, and tell of both."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from barnabas import EdgeError, SyncClient
from barnabas.exit_codes import ExitCode
from tests.barnabas.tools import barnabas
from tests.support import until

if TYPE_CHECKING:
    from barnabas.client import Client
    from barnabas.local.stack import LocalStack
    from barnabas.replies import Fire

DAILY = {"expression": "@daily"}
PAYLOAD = json.dumps(DAILY)
FAST = timedelta(seconds=1)


async def fires(client: Client, schedule: str) -> list[Fire]:
    return [fire async for fire in client.schedule_history(schedule)]


async def test_a_schedule_fires_rests_while_it_is_paused_and_goes_on(client: Client) -> None:
    await client.schedule("cron.parse", DAILY, every=FAST, id="life")
    await client.schedule("cron.parse", DAILY, every=FAST, id="beside")

    async def fired(schedule: str, count: int) -> bool:
        return len(await fires(client, schedule)) >= count

    await until(lambda: fired("life", 3), limit=60)
    first = (await fires(client, "life"))[-1]
    assert first.task_id
    assert (await client.result(first.task_id, timeout=60)).value["expression"] == "@daily"

    paused = await client.pause_schedule("life")
    assert (paused.enabled, paused.next, paused.upcoming) == (False, None, [])
    told = len(await fires(client, "beside"))
    await until(lambda: fired("beside", told + 2), limit=60)  # by now, what was under way is told of
    before = await fires(client, "life")
    told = len(await fires(client, "beside"))
    await until(lambda: fired("beside", told + 3), limit=60)
    assert await fires(client, "life") == before

    resumed = await client.resume_schedule("life")
    assert resumed.enabled

    async def went_on() -> bool:
        newest = (await fires(client, "life"))[0]
        return newest.outcome != "skipped" and newest.slot > before[0].slot

    await until(went_on, limit=60)
    history = await fires(client, "life")
    skipped = [fire for fire in history if fire.reason == "paused"]
    assert sum(fire.count for fire in skipped) >= 3
    # Each slot once, none missing: 1 s apart from the first to the last, but for what is being told of right now.
    slots = sorted((fire.slot, fire.to or fire.slot, fire.count) for fire in history)
    for (_, last, _), (begin, _, _) in itertools.pairwise(slots):
        assert begin - last == FAST
    assert all((last - begin) / FAST + 1 == count for begin, last, count in slots)
    for schedule in ("life", "beside"):
        await client.unschedule(schedule)
    assert await fires(client, "life")


async def test_the_commands_make_list_pause_and_remove_a_schedule(house: LocalStack) -> None:
    added = await barnabas(
        house,
        *("schedule", "add", "cron.parse", PAYLOAD, "--when", "every weekday at 8", "--tz", "Europe/Berlin"),
        *("--id", "report", "--jitter", "30s", "--misfire", "catch_up", "--catch-up-limit", "3", "--max-late", "1h"),
    )
    assert (added.code, added.out) == (ExitCode.OK, "report\n"), added.err
    assert "understood: every weekday at 08:00 (Europe/Berlin)" in added.err
    next_three = re.findall(r"(\w{3}) \d{4}-\d\d-\d\d 08:00:00 CES?T", added.err)
    assert len(next_three) == 3
    assert not {"Sat", "Sun"} & set(next_three)

    listed = [json.loads(line) for line in (await barnabas(house, "schedule", "list")).out.splitlines()]
    report = next(one for one in listed if one["id"] == "report")
    assert (report["when"], report["jitter"], report["max_late"]) == (
        "every weekday at 08:00 (Europe/Berlin)", 30, 3600
    )  # fmt: skip
    assert (report["misfire"], report["catch_up_limit"]) == ("catch_up", 3)
    assert report["task"]["payload"] == DAILY

    paused = await barnabas(house, "schedule", "pause", "report")
    assert (paused.code, paused.out) == (ExitCode.OK, "")
    shown = json.loads((await barnabas(house, "schedule", "show", "report", "--json")).out)
    assert (shown["enabled"], shown["revision"]) == (False, 2)
    resumed = await barnabas(house, "schedule", "resume", "report", "--json")
    assert (json.loads(resumed.out)["revision"], json.loads(resumed.out).get("enabled", True)) == (3, True)
    assert (await barnabas(house, "schedule", "history", "report")).out == ""
    removed = await barnabas(house, "schedule", "remove", "report", "--json")
    assert json.loads(removed.out) == {"removed": "report"}
    gone = await barnabas(house, "schedule", "pause", "report", "--json")
    assert gone.code == ExitCode.FAILED
    assert json.loads(gone.err)["error"]["code"] == "schedule.unknown"
    assert "report" not in (await barnabas(house, "schedule", "list")).out


async def test_a_one_off_fires_and_its_history_is_printed(house: LocalStack, client: Client) -> None:
    added = await barnabas(house, "schedule", "add", "cron.parse", PAYLOAD, "--when", "in 1 second", "--json")
    assert added.code == ExitCode.OK, added.err
    assert "no --tz was given: times are those of UTC" in added.err
    schedule = json.loads(added.out)
    assert schedule["when"].startswith("once, on ")

    async def fired() -> bool:
        return bool(await fires(client, schedule["id"]))

    await until(fired, limit=60)
    printed = (await barnabas(house, "schedule", "history", schedule["id"])).out.splitlines()
    assert [json.loads(line)["slot"] for line in printed] == [schedule["at"]]
    assert (await client.schedule_state(schedule["id"])).active is False
    assert schedule["id"] not in [one.id async for one in client.schedules()]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ((), "when"),
        (("--when", "every day at 8", "--every", "5m"), "every"),
        (("--every", "often"), "every"),
        (("--at", "2030-01-01T00:00"), "at"),
        (("--at", "tomorrow"), "at"),
        (("--every", "5m", "--jitter", "x"), "jitter"),
    ],
)
async def test_what_makes_no_sense_is_wrong_usage(house: LocalStack, options: tuple[str, ...], field: str) -> None:
    done = await barnabas(house, "schedule", "add", "cron.parse", PAYLOAD, *options, "--json")
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert json.loads(done.err)["error"]["field"] == field


async def test_english_that_could_mean_two_things_is_refused_with_what_to_say(house: LocalStack) -> None:
    done = await barnabas(house, "schedule", "add", "cron.parse", PAYLOAD, "--when", "every second Tuesday at 10")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert "the second Tuesday of the month" in done.err


async def test_the_client_without_await_does_the_same(house: LocalStack) -> None:
    def work() -> None:
        with SyncClient(house.edge_url, house.home.api_key.read_text().strip()) as client:
            made = client.schedule(
                "cron.parse", DAILY, when="every hour", max_late=timedelta(minutes=5), misfire="skip"
            )
            assert (made.every, made.max_late, made.misfire, made.when) == (3600, 300, "skip", "every hour")
            assert made.id in [one.id for one in client.schedules()]
            assert client.pause_schedule(made).enabled is False
            assert client.resume_schedule(made.id).enabled is True
            assert list(client.schedule_history(made)) == []
            client.unschedule(made)
            with pytest.raises(EdgeError) as caught:
                client.pause_schedule(made)
            assert caught.value.code == "schedule.unknown"

    await asyncio.to_thread(work)
