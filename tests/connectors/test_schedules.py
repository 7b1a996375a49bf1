"""Schedules at the edge: in English, listed, paused and resumed, and what became of their slots page by page."""

from __future__ import annotations

import asyncio

import pytest

from backbone.clock import now_ms
from backbone.ids import new_id
from backbone.redis import connect, key
from connectors.lists import Mark
from connectors.schedule_list import MAX_HISTORY
from connectors.state import Place
from connectors.states import Change, States
from schemas.records import Fire, FireOutcome, Misfire, Task, Template, Timer
from schemas.tiers import Tier
from schemas.topics import TIMERS, TIMERS_FIRED
from tests.connectors.conftest import edge_settings, edge_up
from tests.support import Log, apart, until

ECHO = {"kind": "test.echo", "payload": {"x": 1}}


async def made(edge, **wish):
    response = await edge.http.post("/v1/schedules", json={"task": ECHO, **wish})
    assert response.status_code == 201, response.text
    return response.json()


async def pages(edge, path, name, limit):
    found, cursor = [], None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        body = (await edge.http.get(path, params={"limit": limit, **more})).json()
        assert len(body[name]) <= limit
        found += body[name]
        if (cursor := body.get("cursor")) is None:
            return found


@pytest.mark.parametrize(
    ("wish", "kept", "when"),
    [
        (
            {"when": "every weekday at 8", "tz": "Europe/Berlin"},
            {"cron": "0 8 * * MON-FRI", "tz": "Europe/Berlin"},
            "every weekday at 08:00 (Europe/Berlin)",
        ),
        ({"when": "0 8 * * MON-FRI"}, {"cron": "0 8 * * MON-FRI"}, "every weekday at 08:00 (UTC)"),
        ({"when": "every 15 minutes", "tz": "Europe/Berlin"}, {"every": 900.0}, "every 15 minutes"),
        (
            {"when": "on 24 December 2090 at noon", "tz": "Europe/Berlin"},
            {"at": "2090-12-24T11:00:00.000Z"},
            "once, on Sunday 24 December 2090 at 11:00 (UTC)",
        ),
        ({"every": 1.5, "misfire": "skip"}, {"every": 1.5, "misfire": "skip"}, "every 1.5 seconds"),
        (
            {"cron": "@daily", "misfire": "catch_up", "catch_up_limit": 7, "max_late": 90},
            {"cron": "@daily", "misfire": "catch_up", "catch_up_limit": 7, "max_late": 90.0},
            "every day at 00:00 (UTC)",
        ),
    ],
)
async def test_a_schedule_says_what_was_understood(edge, services, wish, kept, when):
    schedule = await made(edge, **wish)
    times = {name: schedule[name] for name in ("at", "cron", "tz", "every") if name in schedule}
    assert (schedule["when"], times) == (when, {name: kept[name] for name in kept if name in {*times}})
    assert kept.items() <= schedule.items()
    assert schedule["next"] == schedule["upcoming"][0]
    assert len(schedule["upcoming"]) == (1 if "at" in kept else 3)
    await edge.http.delete(f"/v1/schedules/{schedule['id']}")


@pytest.mark.parametrize(
    ("wish", "field", "says"),
    [
        ({"when": "every second Tuesday at 10"}, "when", "the second Tuesday of the month"),
        ({"when": "gelegentlich"}, "when", "`gelegentlich`"),
        ({"when": "0 8 ? * *"}, "when", "Quartz"),
        ({"when": "0 0 */31 * MON#2"}, "when", "never fires"),
        ({"cron": "0 0 */31 * MON#2"}, "cron", "never fires"),
        ({"when": "every weekday at 8", "tz": "Mars/Base"}, "tz", "IANA"),
        ({"when": "every weekday at 8", "cron": "@daily"}, "cron", "exactly one of"),
        ({"when": ""}, "when", "at least 1"),
        ({"every": 60, "misfire": "never"}, "misfire", "fire_once"),
        ({"every": 60, "catch_up_limit": 3}, "catch_up_limit", "catch_up"),
        ({"every": 60, "misfire": "catch_up", "catch_up_limit": 0}, "catch_up_limit", "1"),
        ({"every": 60, "max_late": -1}, "max_late", "0"),
        ({"every": 60, "jitter": -1}, "jitter", "0"),
        ({"every": 0.999}, "every", "1"),
        ({"every": 60, "id": "a/history"}, "id", "/history"),
        ({"every": 60, "jitter": 61}, "jitter", "overtake"),
        ({"at": "1969-12-31T23:59:59Z"}, "at", "1970"),
        ({"when": "1 January 0001 at 0:30", "tz": "Europe/Berlin"}, "when", "calendar's beginning"),
        ({"when": "31 December 9999 at 23:30", "tz": "America/New_York"}, "when", "calendar's end"),
        ({"cron": "@daily", "tz": ""}, "tz", "at least 1"),
    ],
)
async def test_a_schedule_that_makes_no_sense_names_its_field(edge, services, wish, field, says):
    response = await edge.http.post("/v1/schedules", json={"task": ECHO, **wish})
    problem = response.json()
    assert response.status_code in {400, 422}
    assert (problem["code"], problem["field"]) == ("request.invalid", field)
    assert says in problem["detail"]


async def test_pause_and_resume_write_what_the_timer_service_reads(edge, services, settings):
    schedule = await made(edge, every=3_600, id="team/report")
    path = "/v1/schedules/team%2Freport"
    async with Log(settings, TIMERS) as log:
        paused = (await edge.http.post(f"{path}/pause")).json()
        assert (paused["enabled"], paused["active"], paused["revision"]) == (False, True, 2)
        assert paused["paused_at"] >= schedule["created_at"]
        assert paused["upcoming"] == []
        assert "next" not in paused
        again = (await edge.http.post(f"{path}/pause")).json()
        assert (again["revision"], again["paused_at"]) == (2, paused["paused_at"])
        assert (await edge.http.get(path)).json()["enabled"] is False
        resumed = (await edge.http.post(f"{path}/resume")).json()
        assert (resumed["enabled"], resumed["revision"], resumed["created_at"]) == (True, 3, schedule["created_at"])
        assert "paused_at" not in resumed
        written = await log.until(lambda records: sum(one.id == "team/report" for one in records) == 2)
    off, on = [one for one in written if one.id == "team/report"]
    assert (off.enabled, on.enabled, off.created_at == on.created_at) == (False, True, True)
    assert off.since <= on.since
    assert (await edge.http.delete(path)).status_code == 204
    for act in ("pause", "resume"):
        gone = await edge.http.post(f"{path}/{act}")
        assert (gone.status_code, gone.json()["code"]) == (404, "schedule.unknown")


async def test_of_two_changes_at_once_neither_is_lost(edge, services):
    for number in range(20):
        path = f"/v1/schedules/at-once-{number}"
        await made(edge, id=path.rpartition("/")[2], every=86_400)
        await asyncio.gather(made(edge, id=path.rpartition("/")[2], cron="@daily"), edge.http.post(f"{path}/pause"))
        state = (await edge.http.get(path)).json()
        assert state["cron"] == "@daily"
        other = "pause" if state["enabled"] else "resume"
        removed, _ = await asyncio.gather(edge.http.delete(path), edge.http.post(f"{path}/{other}"))
        assert removed.status_code == 204
        assert (await edge.http.get(path)).status_code == 404


@pytest.mark.parametrize("at", [2**64 - 1, -1])
async def test_a_cursor_of_a_time_that_no_list_has_is_refused(edge, services, at):
    response = await edge.http.get("/v1/schedules", params={"cursor": Mark(at, "x").cursor()})
    assert (response.status_code, response.json()["field"]) == (400, "cursor")


async def test_the_list_is_of_one_s_own_the_newest_first(settings, services, tmp_path):
    own = await apart(settings, "schedule-list")
    redis = connect(own)
    states = States(redis, own)

    def timer(timer_id, created_at, owner="local", **fields):
        task = Task(kind="test.echo", tier=Tier.BATCH, **fields)
        return Timer(
            id=timer_id, owner=owner, tenant=owner, created_at=created_at, every=60_000, template=Template(task=task)
        )

    async def fold(record, of, offset):
        await states.apply([Change(of, record, Place("timers", 0, offset))])

    async with edge_up(edge_settings(own, tmp_path)) as edge:
        # Some of one moment; what was produced straight to the topic is seen too, a retry and others' are not.
        for offset, one in enumerate(
            [
                *(timer(f"t{number}", number // 3) for number in range(10)),
                timer("straight", 2, owner="direct"),
                timer("another's", 9, owner="ann"),
                timer("retry", 9, id=new_id()),
            ]
        ):
            await fold(one, one.id, offset)
        names = ["t9", "t8", "t7", "t6", "straight", "t5", "t4", "t3", "t2", "t1", "t0"]
        for limit in (1, 3, 500):
            found = await pages(edge, "/v1/schedules", "schedules", limit)
            assert [one["id"] for one in found] == names
        assert found[0]["next"]
        assert found[0]["fires"] == []
        # Replaced, it is the newest; removed, or of another owner, it is in the list no more.
        await fold(timer("t0", 50), "t0", 100)
        await fold(None, "t5", 101)
        await fold(timer("t4", 60, owner="ann"), "t4", 102)
        await fold(timer("t3", 1), "t3", 1)  # an older revision that comes late
        found = await pages(edge, "/v1/schedules", "schedules", 4)
        assert [one["id"] for one in found] == ["t0", "t9", "t8", "t7", "t6", "straight", "t3", "t2", "t1"]
        for bad in ("x", "", "gqF4"):
            problem = (await edge.http.get("/v1/schedules", params={"cursor": bad})).json()
            assert (problem["code"], problem["field"]) == ("request.invalid", "cursor")
        for limit in ("0", "501", "x"):
            problem = (await edge.http.get("/v1/schedules", params={"limit": limit})).json()
            assert problem["field"] == "limit"
        # A member of the list is gone with its state, and the retry left no history.
        assert await redis.zcard(key(own, "schedules:ann")) == 2
        await fold(Fire(timer_id="retry", slot=1, outcome=FireOutcome.FIRED, at=1), "retry", 5)
        assert await redis.exists(key(own, "fires:retry")) == 0
    await redis.aclose()


async def test_a_history_tells_each_slot_once_the_newest_first(edge, services):
    schedule = await made(edge, every=60, misfire=Misfire.SKIP)
    path = f"/v1/schedules/{schedule['id']}"

    async def told(slot, outcome, **fields):
        fire = Fire(timer_id=schedule["id"], slot=slot, outcome=outcome, at=slot + 5, **fields)
        await services.producer.send(TIMERS_FIRED, fire.timer_id, fire)

    for slot in range(10):
        await told(slot * 1000, FireOutcome.FIRED, task_id=f"t{slot}")
    await told(9_000, FireOutcome.LATE, late_by=7, task_id="t9")  # after a crash: the first one counts
    await told(10_000, FireOutcome.SKIPPED, to_slot=20_000, count=11, reason="missed")
    await told(21_000, FireOutcome.SKIPPED, to_slot=29_000, count=9, reason="paused")
    await told(30_000, FireOutcome.LATE, late_by=1_500, task_id="t30")
    await edge.until(path, lambda body: body.get("last", {}).get("outcome") == "late")
    for limit in (1, 4, 500):
        fires = await pages(edge, f"{path}/history", "fires", limit)
        assert [(fire["outcome"], fire["count"]) for fire in fires] == [
            ("late", 1), ("skipped", 9), ("skipped", 11), *[("fired", 1)] * 10
        ]  # fmt: skip
    assert sum(fire["count"] for fire in fires) == 31
    assert (fires[1]["reason"], fires[1]["to"]) == ("paused", "1970-01-01T00:00:29.000Z")
    await edge.http.delete(path)
    assert await pages(edge, f"{path}/history", "fires", 500) == fires
    nobody = await edge.http.get("/v1/schedules/nobody/history")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "schedule.unknown")


async def test_a_history_keeps_the_latest_and_ends_by_itself(settings):
    own = await apart(settings, "schedule-history")
    redis = connect(own)
    states = States(redis, own)
    fires = [
        Change("h", Fire(timer_id="h", slot=slot, outcome=FireOutcome.FIRED, at=slot), Place("fired", 0, slot))
        for slot in range(MAX_HISTORY + 30)
    ]
    for begin in range(0, len(fires), 400):
        await asyncio.gather(*(states.apply(fires[begin : begin + 400]) for _ in range(2)))  # two who fold the same
    assert [fired.fire.slot for fired in await states.history("h")] == list(range(30, MAX_HISTORY + 30))
    assert 0 < await redis.pttl(key(own, "fires:h")) <= 30 * 86_400_000
    await redis.aclose()


async def test_a_timer_that_means_nothing_does_not_break_the_list(settings, services, edge):
    from backbone.kafka import Producer

    producer = Producer(settings)
    await producer.start()
    odd = Timer(
        id="odd", owner="local", tenant="local", created_at=now_ms(), cron="99 * * * *",
        template=Template(task=Task(kind="test.echo", tier=Tier.BATCH)),
    )  # fmt: skip
    await producer.send(TIMERS, odd.id, odd)
    await edge.until("/v1/schedules/odd", lambda body: body.get("active"))
    found = (await edge.http.get("/v1/schedules/odd")).json()
    assert (found["when"], found["upcoming"]) == ("99 * * * * (UTC)", [])
    assert "odd" in [one["id"] for one in await pages(edge, "/v1/schedules", "schedules", 500)]
    assert (await edge.http.delete("/v1/schedules/odd")).status_code == 204

    async def gone():
        return "odd" not in [one["id"] for one in await pages(edge, "/v1/schedules", "schedules", 500)]

    await until(gone)
    await producer.stop()
