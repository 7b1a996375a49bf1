"""Dead letters at a real edge: listed by filter and page, replayed and dropped once each, known after Redis is empty."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from backbone import outcome
from backbone.blobs import Blobs
from backbone.clock import now_ms, to_datetime
from backbone.errors import BrokerUnavailableError
from backbone.ids import new_id
from backbone.intake import unreadable
from backbone.kafka import Producer
from backbone.outcomes import OutcomeStore
from backbone.redis import connect
from backbone.security.audit import Audit, digest
from backbone.security.identity import LOCAL, ApiKeys, Principal
from connectors.edge import running
from connectors.errors import LetterReplayedError, LetterUnknownError
from connectors.gateway import Gateway
from connectors.idempotency import IdempotencyKeys
from connectors.kinds import Kinds
from connectors.letter_list import letters_of
from connectors.letters import Letters, Wanted
from connectors.lists import Lists
from connectors.payloads import Payloads
from connectors.projection import Projection
from connectors.states import States
from schemas import codec
from schemas.codec import CodecError
from schemas.errors import Problem
from schemas.records import DeadLetter, Kind, Step, Task
from schemas.tiers import Tier
from schemas.topics import AUDIT, DEAD_LETTERS, TASKS
from tests.connectors.conftest import PAYLOAD_SCHEMA, Caller, Played, edge_settings, edge_up
from tests.support import Log, apart, until

BROKEN = Problem("echo.broken", "no echo")


@pytest.fixture(scope="module")
async def settings(stack):
    return await apart(stack.settings, "letters")


@pytest.fixture(scope="module")
async def services(settings):
    producer = Producer(settings)
    await producer.start()
    services = Played(producer)
    await services.announce("test.echo", PAYLOAD_SCHEMA)
    yield services
    await producer.stop()


@pytest.fixture(scope="module")
async def edge(settings, services, tmp_path_factory):
    async with edge_up(edge_settings(settings, tmp_path_factory.mktemp("edge"))) as caller:
        await caller.until("/v1/kinds", lambda body: body["kinds"])
        yield caller


def a_task(**more):
    identity = new_id()
    fields = {
        "id": identity, "key": f"key of {identity}", "kind": "test.echo", "tier": Tier.BATCH, "owner": "local",
        "tenant": "local", "root_id": identity, "payload": b'{"x": 1}', "created_at": now_ms(),
        "start_by": now_ms() + 60_000, "deadline": now_ms() + 60_000, **more,
    }  # fmt: skip
    return Task(**fields)


async def failed(services, settings, task, problem=BROKEN, at=None):
    """Write what a worker writes when a task failed for good."""
    policy = settings.tiers[task.tier]
    end = outcome.failed(task, problem, policy=policy, now=at or now_ms(), worker="tests", jitter=0.5)
    for out in end.records:
        await services.producer.send(out.topic, out.key, out.record)
    return task


async def there(edge, *ids):
    """Wait until the projection has folded these letters."""
    for identity in ids:
        await edge.until(f"/v1/dead-letters/{identity}", lambda body: "id" in body, limit=60)


async def listed(edge, **params):
    """Return all letters of a list and the number of its pages."""
    found, pages, cursor = [], 0, None
    while pages == 0 or cursor:
        more = {"cursor": cursor} if cursor else {}
        response = await edge.http.get("/v1/dead-letters", params={**params, **more})
        assert response.status_code == 200, response.text
        found += response.json()["dead_letters"]
        cursor = response.json()["cursor"]
        pages += 1
    return found, pages


async def test_a_letter_is_listed_looked_at_and_replayed_as_a_new_task(edge, services, settings):
    before = a_task(then=[Step(kind="test.echo", payload=b'{"x": "{{ result.y }}"}')], conversation="c")
    task = await failed(services, settings, before)
    await there(edge, task.id)
    shown = (await edge.http.get(f"/v1/dead-letters/{task.id}")).json()
    assert shown.items() >= {
        "id": task.id, "status": "waiting", "owner": "local", "kind": "test.echo", "tier": "batch", "attempts": 1,
        "key": task.key, "payload": {"x": 1}, "topic": "letters.dead-letters", "replays": [], "handled": [],
        "error": {"code": "echo.broken", "message": "no echo", "retryable": False},
    }.items()  # fmt: skip
    assert [(one["attempt"], one["code"]) for one in shown["history"]] == [(1, "echo.broken")]
    assert shown["then"][0]["payload"] == {"x": "{{ result.y }}"}
    [row] = [row for row in (await listed(edge))[0] if row["id"] == task.id]
    assert "payload" not in row
    async with Log(settings, TASKS[Tier.BATCH]) as log, Log(settings, AUDIT) as audit:
        response = await edge.http.post(f"/v1/dead-letters/{task.id}/replay")
        assert response.status_code == 202, response.text
        receipt = response.json()
        assert response.headers["Location"] == f"/v1/tasks/{receipt['id']}"
        [again] = await log.until(bool)
        [entry] = await audit.until(bool)
    assert (again.id, again.key, again.tier, again.owner) == (receipt["id"], task.key, Tier.BATCH, "local")
    assert (again.replay_of, again.attempt, again.history, again.root_id) == (task.id, 1, [], again.id)
    assert (again.then, again.conversation, again.payload) == (before.then, "c", before.payload)
    assert again.created_at >= task.created_at
    assert (entry.action, entry.actor, entry.address) == ("dead-letters.replay", "local", "127.0.0.1")
    assert (entry.resource, entry.code) == (f"dead-letters/{task.id}", "allowed")
    assert json.loads(entry.before)["task"]["payload"] == json.loads(entry.after)["payload"] == "***"
    assert json.loads(entry.after)["id"] == again.id
    assert (await edge.http.get(response.headers["Location"])).json()["replay_of"] == task.id
    shown = (await edge.http.get(f"/v1/dead-letters/{task.id}")).json()
    assert (shown["status"], shown["replays"]) == ("replayed", [again.id])
    assert [(one["how"], one["by"], one["task_id"]) for one in shown["handled"]] == [("replayed", "local", again.id)]


async def test_a_letter_that_was_dropped_is_done_with(edge, services, settings):
    task = await failed(services, settings, a_task())
    await there(edge, task.id)
    path = f"/v1/dead-letters/{task.id}"
    async with Log(settings, AUDIT) as audit:
        assert (await edge.http.delete(path)).status_code == 204
        [entry] = await audit.until(bool)
    assert (entry.action, entry.resource, entry.after) == ("dead-letters.drop", f"dead-letters/{task.id}", None)
    for response in (await edge.http.delete(path), await edge.http.post(f"{path}/replay")):
        assert (response.status_code, response.json()["code"]) == (409, "letter.dropped")
    assert (await edge.http.get(path)).json()["status"] == "dropped"
    for status, times in (("dropped", 1), ("waiting", 0), ("replayed", 0)):
        rows, _ = await listed(edge, status=status)
        assert [row["id"] for row in rows].count(task.id) == times


async def test_bytes_that_are_no_task_are_shown_and_can_only_be_dropped(edge, services, settings):
    async with Log(settings, DEAD_LETTERS) as log:
        out = unreadable("letters.tasks.low", 3, 7, b"\xff{", CodecError("not JSON", field="value"), now_ms())
        await services.producer.send(out.topic, out.key, out.record)
        await log.until(bool)
    await there(edge, out.key)
    shown = (await edge.http.get(f"/v1/dead-letters/{out.key}")).json()
    assert (shown["raw_base64"], shown["source"]["offset"], shown["owner"]) == ("/3s=", 7, "direct")
    response = await edge.http.post(f"/v1/dead-letters/{out.key}/replay")
    assert (response.status_code, response.json()["code"]) == (409, "letter.unreplayable")
    assert "submit" in response.json()["detail"]
    assert (await edge.http.delete(f"/v1/dead-letters/{out.key}")).status_code == 204


@pytest.mark.parametrize(
    ("more", "problem", "status", "code", "field"),
    [
        ({"kind": "no.such"}, BROKEN, 422, "kind.unknown", "kind"),
        ({"payload": b'{"x": "one"}'}, BROKEN, 422, "payload.invalid", "payload.x"),
        ({"payload": b"no json"}, BROKEN, 422, "payload.invalid", "payload"),
        ({"payload": b"[1]"}, BROKEN, 422, "payload.invalid", "payload"),
        ({"then": [Step(kind="no.such")]}, BROKEN, 422, "kind.unknown", "then.0.kind"),
        ({}, Problem("step.invalid", "nothing there"), 409, "letter.unreplayable", None),
    ],
)
async def test_what_could_not_be_done_again_is_not_replayed(
    edge, services, settings, more, problem, status, code, field
):
    task = await failed(services, settings, a_task(**more), problem)
    await there(edge, task.id)
    response = await edge.http.post(f"/v1/dead-letters/{task.id}/replay")
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json().get("field") == field
    assert (await edge.http.get(f"/v1/dead-letters/{task.id}")).json()["status"] == "waiting"


async def test_lists_are_by_kind_code_and_time_the_newest_first_page_by_page(edge, services, settings):
    start = now_ms() - 1_000_000
    mine = []
    for number in range(12):  # four at each time
        task = a_task(kind="test.many" if number % 2 else "test.few")
        mine.append(task.id)
        await failed(services, settings, task, Problem(f"many.{number % 3}", "so"), at=start + number // 4)
    await there(edge, *mine)
    instants = {number: to_datetime(start + number).isoformat() for number in range(4)}

    async def ids(**params):
        rows, pages = await listed(edge, **params)
        assert [row["at"] for row in rows] == sorted((row["at"] for row in rows), reverse=True)
        found = [row["id"] for row in rows if row["id"] in mine]
        assert len(found) == len(set(found))
        return set(found), pages

    assert (await ids())[0] == set(mine)
    window = {"since": instants[0], "before": instants[3]}
    for limit in (1, 5, 12):
        found, pages = await ids(limit=limit, **window)
        assert (found, pages) == (set(mine), -(-12 // limit))
    assert (await ids(kind="test.few", limit=4))[0] == set(mine[::2])
    assert (await ids(code="many.1", **window))[0] == set(mine[1::3])
    assert (await ids(since=instants[1], before=instants[2]))[0] == set(mine[4:8])
    assert (await ids(kind="test.none"))[0] == set()


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"cursor": "!"}, 400, "cursor"),
        ({"limit": 0}, 422, "limit"),
        ({"since": "yesterday"}, 422, "since"),
        ({"status": "gone"}, 422, "status"),
    ],
)
async def test_a_bad_list_names_its_field(edge, params, status, field):
    response = await edge.http.get("/v1/dead-letters", params=params)
    assert (response.status_code, response.json()["code"]) == (status, "request.invalid")
    assert response.json()["field"] == field


async def test_what_is_somebody_elses_is_not_there(edge, services, settings):
    task = await failed(services, settings, a_task(owner="ann", tenant="ann"))
    redis = connect(settings)
    states = States(redis, settings)
    await until(lambda: states.letter(task.id), limit=60)
    for response in (
        await edge.http.get(f"/v1/dead-letters/{task.id}"),
        await edge.http.post(f"/v1/dead-letters/{task.id}/replay"),
        await edge.http.delete(f"/v1/dead-letters/{task.id}"),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "letter.unknown")
    assert task.id not in {row["id"] for row in (await listed(edge))[0]}
    await redis.aclose()


async def test_an_id_that_two_owners_gave_is_the_first_ones_alone(edge, services, settings, torn):
    letters, _ = torn
    theirs = a_task(owner="ann", tenant="ann")
    mine = a_task(id=theirs.id, root_id=theirs.id)

    async def written(task, key):
        letter = DeadLetter(at=now_ms(), error=BROKEN, task=task)
        return (await services.producer.send(DEAD_LETTERS, key, letter))[0]

    # Two keys whose partitions differ, so that what is written later can come earlier in the order of the log.
    keys = {}
    while len(keys) < 2:
        key = new_id()
        keys[await written(a_task(), key)] = key
    early, late = (keys[partition] for partition in sorted(keys))

    async def seen_by(principal):
        return mine.id in {state.id for state in (await letters.page(principal, Wanted(), limit=200)).letters}

    await written(mine, late)
    await until(lambda: seen_by(LOCAL), limit=60)
    await written(theirs, early)
    await until(lambda: seen_by(Principal(owner="ann", tenant="ann")), limit=60)
    assert not await seen_by(LOCAL)


async def test_a_letter_whose_id_has_a_slash_can_be_dropped(edge, services, settings):
    identity = f"a/{new_id()}/replay"
    await failed(services, settings, a_task(id=identity, root_id=identity))
    path = f"/v1/dead-letters/{quote(identity, safe='')}"
    await edge.until(path, lambda body: body.get("id") == identity, limit=60)
    assert (await edge.http.post(f"{path}/replay")).status_code == 202
    assert (await edge.http.delete(path)).status_code == 204


async def test_a_filled_anew_redis_says_the_same(edge, services, settings):
    waiting, replayed, dropped = [await failed(services, settings, a_task()) for _ in range(3)]
    await there(edge, waiting.id, replayed.id, dropped.id)
    await edge.http.post(f"/v1/dead-letters/{replayed.id}/replay")
    await edge.http.delete(f"/v1/dead-letters/{dropped.id}")
    lists = {status: (await listed(edge, status=status))[0] for status in ("waiting", "replayed", "dropped")}
    whole = (await edge.http.get(f"/v1/dead-letters/{replayed.id}")).json()
    redis = connect(settings)
    forgotten = [name async for name in redis.scan_iter(match=f"{settings.topic_prefix}letter*", count=1000)]
    await redis.delete(*forgotten)
    assert (await listed(edge))[0] == []
    projection = Projection(settings, States(redis, settings), "anew")
    await projection.start()
    running = asyncio.create_task(projection.run())

    async def same():
        return all([(await listed(edge, status=status))[0] == rows for status, rows in lists.items()])

    await until(same, limit=60)
    assert (await edge.http.get(f"/v1/dead-letters/{replayed.id}")).json() == whole
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await redis.aclose()


class Torn(Producer):
    """A producer from which one topic is away."""

    away = None

    async def send(self, topic, key, record):
        if topic is self.away:
            raise BrokerUnavailableError
        return await super().send(topic, key, record)


@pytest.fixture
async def torn(settings):
    """Return letters whose producer can be torn, and that producer."""
    redis = connect(settings)
    producer = Torn(settings)
    await producer.start()
    kinds = Kinds()
    announced = Kind(
        kind="test.echo", tier=Tier.BATCH, service="tests", payload_schema=b'{"type": "object"}', result_schema=b"{}"
    )
    kinds.put(announced.kind, announced)
    states = States(redis, settings)
    gateway = Gateway(
        settings, keys=ApiKeys("k"), kinds=kinds, payloads=Payloads(settings, kinds, Blobs.of(settings)), producer=producer, broker_there=lambda: True, states=states,
        outcomes=OutcomeStore(redis, settings), idempotency=IdempotencyKeys(redis, settings),
    )  # fmt: skip
    yield Letters(settings, gateway, states, Lists(redis, settings, letters_of), Audit(producer, now_ms)), producer
    await producer.stop()
    await redis.aclose()


async def test_replays_at_one_moment_are_one_task_and_a_later_one_is_another(
    edge, services, settings, torn, monkeypatch
):
    letters, _ = torn
    task = await failed(services, settings, a_task())
    await there(edge, task.id)
    kinds, met = letters._gateway.kinds, asyncio.Barrier(5)
    announced = kinds.announced

    async def together(name):
        await met.wait()  # each has read by now that there is no replay
        return await announced(name)

    with monkeypatch.context() as patch:
        patch.setattr(kinds, "announced", together)
        replays = await asyncio.gather(*(letters.replay(LOCAL, task.id, "here") for _ in range(5)))
    [first] = {accepted.task.id for accepted in replays}
    with pytest.raises(LetterReplayedError, match=first):
        await letters.replay(LOCAL, task.id, "here", once=True)
    later = (await letters.replay(LOCAL, task.id, "here")).task.id
    assert [done.task_id for done in (await letters.find(LOCAL, task.id))[0].replays] == [first, later]


async def test_what_can_not_be_audited_is_not_done(edge, services, settings, torn):
    letters, producer = torn
    task = await failed(services, settings, a_task())
    await there(edge, task.id)
    async with Log(settings, TASKS[Tier.BATCH]) as log, Log(settings, AUDIT) as audit:
        producer.away = AUDIT
        for act in (letters.replay, letters.drop):
            with pytest.raises(BrokerUnavailableError):
                await act(LOCAL, task.id, "here")
        assert (await letters.find(LOCAL, task.id))[0].status == "waiting"
        producer.away = None
        accepted = await letters.replay(LOCAL, task.id, "here")
        assert [again.id for again in await log.until(bool)] == [accepted.task.id]
        assert [entry.code for entry in await audit.until(bool)] == ["allowed"]


async def test_a_replay_that_failed_is_audited_and_the_next_one_is_the_same_task(edge, services, settings, torn):
    letters, producer = torn
    task = await failed(services, settings, a_task())
    await there(edge, task.id)
    async with Log(settings, TASKS[Tier.BATCH]) as log, Log(settings, AUDIT) as audit:
        producer.away = DEAD_LETTERS
        with pytest.raises(BrokerUnavailableError):
            await letters.replay(LOCAL, task.id, "here")
        producer.away = None
        accepted = await letters.replay(LOCAL, task.id, "here")
        assert {again.id for again in await log.until(lambda tasks: len(tasks) == 2)} == {accepted.task.id}
        entries = await audit.until(lambda entries: len(entries) == 3)
    assert [entry.code for entry in entries] == ["allowed", "broker.unavailable", "allowed"]
    assert entries[1].previous == digest(codec.encode(entries[0]))


async def test_letters_of_bytes_are_only_shown_to_who_runs_the_stack(edge, services, settings, torn):
    letters, _ = torn
    out = unreadable("letters.tasks.low", 3, 8, None, CodecError("a tombstone", field="value"), now_ms())
    await services.producer.send(out.topic, out.key, out.record)
    await there(edge, out.key)
    ann = Principal(owner="ann", tenant="ann")
    with pytest.raises(LetterUnknownError):
        await letters.find(ann, out.key)
    assert (await letters.find(LOCAL, out.key))[1] == out.record
    seen = {of: {state.id for state in (await letters.page(of, Wanted(), limit=200)).letters} for of in (ann, LOCAL)}
    assert [out.key in ids for ids in seen.values()] == [False, True]


async def test_one_strange_letter_loses_no_other(edge, services, settings):
    strange = DeadLetter(at=now_ms(), error=BROKEN, task=Task(kind="test.echo"))
    await services.producer.send(DEAD_LETTERS, "key of all", strange)
    task = await failed(services, settings, a_task(key="key of all"))
    await there(edge, task.id)


async def test_a_replay_that_fails_is_a_letter_of_its_own(edge, services, settings):
    first = await failed(services, settings, a_task())
    await there(edge, first.id)
    async with Log(settings, TASKS[Tier.BATCH]) as log:
        await edge.http.post(f"/v1/dead-letters/{first.id}/replay")
        [again] = await log.until(bool)
    await failed(services, settings, again)
    await there(edge, again.id)
    assert (await edge.http.get(f"/v1/dead-letters/{again.id}")).json()["replay_of"] == first.id
    state = await edge.until(f"/v1/tasks/{again.id}", lambda body: body["status"] == "failed")
    assert state["replay_of"] == first.id


async def test_with_redis_away_nothing_is_said_to_be_done(settings, services, tmp_path):
    import socket

    with socket.socket() as taken:  # bound and not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        away = SecretStr(f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
        async with running(edge_settings(settings, tmp_path, redis_url=away)) as up:
            edge = Caller(up.port)
            for method, path in (
                ("GET", "/v1/dead-letters"),
                ("GET", "/v1/dead-letters/x"),
                ("POST", "/v1/dead-letters/x/replay"),
                ("DELETE", "/v1/dead-letters/x"),
            ):
                refused = await edge.http.request(method, path)
                assert (refused.status_code, refused.json()["code"]) == (503, "store.unavailable")
            await edge.http.aclose()
