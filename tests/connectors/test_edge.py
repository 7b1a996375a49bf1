"""The edge on a real Kafka and Valkey: tests play the services by writing what they write."""

import asyncio
import json
import re
import uuid

import pytest
from websockets.exceptions import InvalidStatus

from backbone.clock import now_ms
from schemas.records import Status
from schemas.tiers import Tier
from schemas.topics import CANCELLATIONS, INFERENCE, TASKS
from tests.connectors.conftest import edge_settings, edge_up, task_of
from tests.support import Log, produce_bytes

ECHO = {"kind": "test.echo", "payload": {"x": 1}}
ASK = {"type": "ask", "ref": "a", "prompt": "hello"}


async def submitted(edge, **more):
    response = await edge.http.post("/v1/tasks", json={**ECHO, **more})
    assert response.status_code == 202, response.text
    return response.json()


async def test_a_submit_is_durable_and_read_back_at_once(edge, settings):
    async with Log(settings, TASKS[Tier.BATCH]) as log:
        response = await edge.http.post("/v1/tasks", json=ECHO)
        receipt = response.json()
        assert response.status_code == 202
        assert response.headers["Location"] == f"/v1/tasks/{receipt['id']}"
        assert (receipt["tier"], receipt["status"], receipt["topic"]) == ("batch", "accepted", "edge-tests.tasks.batch")
        state = (await edge.http.get(response.headers["Location"])).json()
        assert state.items() >= {**receipt, "owner": "local", "attempt": 1}.items()
        [task] = [task for task in await log.until(bool) if task.id == receipt["id"]]
        assert (task.payload, task.owner, task.key) == (b'{"x":1}', "local", receipt["id"])


async def test_what_a_service_says_arrives_on_the_socket_in_order(edge, services):
    async with edge.socket() as socket:
        receipt = (await socket.ask("accepted", type="submit", ref="1", **ECHO, tier="urgent"))["task"]
        assert receipt["tier"] == "urgent"
        task = task_of(receipt)
        await services.say(task, Status.STARTED)
        await services.say(task, Status.PROGRESS, progress=0.5, note="half")
        offset = await services.say(task, Status.SUCCEEDED, result=b'{"y": [1, null]}')
        text, events = await socket.hear_all()
    assert text == ""
    assert [frame["status"] for frame in events] == ["started", "progress", "succeeded"]
    assert (events[1]["progress"], events[1]["note"]) == (0.5, "half")
    assert (events[2]["result"], events[2]["offset"], events[2]["topic"]) == (
        {"y": [1, None]},
        offset,
        "edge-tests.results",
    )
    state = await edge.until(f"/v1/tasks/{task.id}", lambda body: body["status"] == "succeeded")
    assert (state["result"], state["worker"]) == ({"y": [1, None]}, "tests")


async def test_an_answer_streams_over_a_takeover_and_one_who_comes_later_gets_it_whole(edge, services):
    async with edge.socket() as early, edge.socket() as middle:
        receipt = (await early.ask("accepted", **ASK, tier="urgent"))["task"]
        assert receipt["topic"] == "edge-tests.inference.urgent"
        task = task_of(receipt)
        await services.say(task, Status.STARTED)
        first = await services.claim(task)
        await services.tokens(task, first, 0, "He", "llo")
        second = await services.claim(task, 2)
        await services.tokens(task, first, 2, " dead")
        await middle.ask("subscribed", type="subscribe", ref="m", task=task.id)
        await services.tokens(task, second, 2, ", wör", "ld")
        await services.say(task, Status.SUCCEEDED, claim=second, tokens=4, result=b"{}")
        for socket in (early, middle):
            text, events = await socket.hear_all()
            assert text == "Hello, wörld"
            assert [frame["status"] for frame in events] == ["started", "succeeded"]
    # Nobody watches any more: it is read from the log.
    async with edge.socket() as late:
        await edge.until(f"/v1/tasks/{task.id}", lambda body: body["status"] == "succeeded")
        subscribed = await late.ask("subscribed", type="subscribe", ref="l", task=task.id)
        assert (subscribed["ref"], subscribed["task"]) == ("l", task.id)
        text, events = await late.hear_all()
        assert text == "Hello, wörld"
        assert events[-1]["tokens"] == 4


async def test_one_who_joins_while_tokens_flow_gets_each_once(edge, services):
    receipt = (await edge.http.post("/v1/tasks", json={"kind": "llm.chat", "payload": {"messages": []}})).json()
    task = task_of(receipt)
    words = [f"w{number} " for number in range(200)]
    claim = await services.claim(task)

    async def join(after):
        await asyncio.wait_for(after.wait(), 20)
        async with edge.socket() as socket:
            await socket.ask("subscribed", type="subscribe", task=task.id)
            return await socket.hear_all()

    marks = [asyncio.Event() for _ in range(8)]
    joined = [asyncio.create_task(join(mark)) for mark in marks]
    for number, word in enumerate(words):
        if number % 25 == 0:
            marks[number // 25].set()
        await services.tokens(task, claim, number, word)
    await services.say(task, Status.SUCCEEDED, claim=claim, tokens=len(words), result=b"{}")
    for text, _ in await asyncio.gather(*joined):
        assert text == "".join(words)


async def test_all_of_ones_own_are_heard_also_what_was_produced_straight_to_kafka(edge, services, settings):
    async with edge.socket() as socket:
        await socket.ask("subscribed", type="subscribe", ref="all", all=True)
        async with Log(settings, TASKS[Tier.LOW]) as log:
            identity = str(uuid.uuid4())
            body = {"kind": "test.echo", "payload": {"x": 2}, "id": identity}
            await produce_bytes(settings, TASKS[Tier.LOW], json.dumps(body).encode())
            await log.until(bool)
        state = await edge.until(
            f"/v1/tasks/{identity}", lambda body: "status" in body and body["status"] == "accepted"
        )
        assert (state["owner"], state["tier"], state["topic"]) == ("direct", "low", "edge-tests.tasks.low")
        chat = (await edge.http.post("/v1/tasks", json={"kind": "llm.chat", "payload": {"messages": []}})).json()
        claim = await services.claim(task_of(chat))
        await services.tokens(task_of(chat), claim, 0, "so ")
        await services.say(task_of(chat), Status.STARTED)
        await services.tokens(task_of(chat), claim, 1, "far")
        await services.say(task_of(chat), Status.SUCCEEDED, claim=claim, tokens=2, result=b"{}")
        frames = []
        while not any(frame.get("status") == "succeeded" and frame["task"] == chat["id"] for frame in frames):
            frames.append(await socket.hear())
        text = "".join(frame["text"] for frame in frames if frame["type"] == "tokens" and frame["task"] == chat["id"])
        assert text == "so far"
        await socket.say(type="unsubscribe", all=True)
        await socket.ask("pong", type="ping", ref="p")


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"x": "{{ resul.x }}"}, "then.0.payload.x"),
        ({"x": "{{ result.x }}", "y": json.loads("[" * 250 + "]" * 250)}, "then.0.payload"),
        ({"x": "{{" + " " * 100_000}, "then.0.payload.x"),  # no look-up, and no number as the kind wants it
    ],
)
async def test_a_step_that_could_never_run_is_refused_at_once(edge, payload, field):
    refused = await edge.http.post("/v1/tasks", json={**ECHO, "then": [{"kind": "test.echo", "payload": payload}]})
    assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_cancelling_ends_a_task_once_and_interrupts_what_runs(edge, services, settings):
    async with Log(settings, CANCELLATIONS) as log, edge.socket() as socket:
        receipt = (await socket.ask("accepted", type="submit", **ECHO))["task"]
        answers = await asyncio.gather(*(edge.http.delete(f"/v1/tasks/{receipt['id']}") for _ in range(4)))
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert any(answer.status_code == 200 and answer.json()["status"] == "cancelled" for answer in answers)
        _, events = await socket.hear_all()
        assert [frame["status"] for frame in events] == ["cancelled"]
        assert receipt["id"] in {one.task_id for one in await log.until(bool)}
        again = await edge.http.delete(f"/v1/tasks/{receipt['id']}")
        assert (again.status_code, again.json()["code"]) == (409, "task.ended")
        gone = await socket.ask("error", type="cancel", ref="c", task="no-such-task")
        assert (gone["code"], gone["ref"]) == ("task.unknown", "c")


async def test_what_is_attached_to_a_connection_ends_with_it_and_nothing_else_does(edge, services, settings):
    async with Log(settings, CANCELLATIONS) as log:
        async with edge.socket() as socket:
            kept, ended, detached = [
                (await socket.ask("accepted", type="submit", **ECHO, **more))["task"]
                for more in ({}, {"attached": True}, {"attached": True})
            ]
            asked = (await socket.ask("accepted", type="ask", prompt="Why?", attached=True))["task"]
            over = (await socket.ask("accepted", type="ask", prompt="What?", attached=True))["task"]
            await socket.say(type="unsubscribe", task=detached["id"])
            await services.say(task_of(over), Status.SUCCEEDED, result=b"{}")
            assert (await socket.hear("event"))["task"] == over["id"]
            socket.connection.transport.abort()
        for receipt in (ended, asked):
            await edge.until(f"/v1/tasks/{receipt['id']}", lambda body: body["status"] == "cancelled")
        ids = {ended["id"], asked["id"]}
        await log.until(lambda cancels: ids <= {cancel.task_id for cancel in cancels})
    assert {kept["id"], detached["id"], over["id"]}.isdisjoint(cancel.task_id for cancel in log.records)
    for receipt, status in ((kept, "accepted"), (detached, "accepted"), (over, "succeeded")):
        assert (await edge.http.get(f"/v1/tasks/{receipt['id']}")).json()["status"] == status


async def test_a_cancel_that_comes_after_the_outcome_loses(edge, services, settings):
    from backbone import outcome
    from backbone.outcomes import OutcomeStore
    from backbone.redis import connect

    receipt = await submitted(edge)
    task = task_of(receipt)
    redis = connect(settings)
    # The worker has settled its outcome and has not produced it yet.
    done = outcome.ended(task, Status.SUCCEEDED, now=1, worker="tests", result=b"1")
    await OutcomeStore(redis, settings).settle(done)
    await redis.aclose()
    refused = await edge.http.delete(f"/v1/tasks/{task.id}")
    assert (refused.status_code, refused.json()["detail"]) == (409, "it ended as succeeded")


async def test_the_same_idempotency_key_is_the_same_task(edge, settings):
    key = str(uuid.uuid4())
    async with Log(settings, TASKS[Tier.BATCH]) as log:
        answers = await asyncio.gather(
            *(edge.http.post("/v1/tasks", json=ECHO, headers={"Idempotency-Key": key}) for _ in range(5))
        )
        first = await submitted(edge, idempotency_key=key)
        assert await submitted(edge, idempotency_key=key) == first
        assert {answer.json()["id"] for answer in answers} == {first["id"]}
        other = await edge.http.post("/v1/tasks", json={**ECHO, "payload": {"x": 2}, "idempotency_key": key})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency.conflict")
        last = await submitted(edge)
        tasks = await log.until(lambda tasks: any(task.id == last["id"] for task in tasks))
    assert sum(task.id == first["id"] for task in tasks) == 1


async def test_a_repeated_submit_on_a_socket_gets_the_task_from_its_beginning(edge, services):
    key = str(uuid.uuid4())
    frame = {"type": "submit", "kind": "llm.chat", "payload": {"messages": []}, "idempotency_key": key}
    async with edge.socket() as first, edge.socket() as second, edge.socket() as third:
        receipt = (await first.ask("accepted", **frame))["task"]
        task = task_of(receipt)
        claim = await services.claim(task)
        await services.tokens(task, claim, 0, "one")
        assert (await first.hear("tokens"))["text"] == "one"
        assert (await second.ask("accepted", **frame))["task"] == receipt
        assert (await second.hear("tokens"))["text"] == "one"
        await services.say(task, Status.SUCCEEDED, claim=claim, tokens=1, result=b"{}")
        await first.hear("event")
        assert (await third.ask("accepted", **frame))["task"] == receipt
        text, events = await third.hear_all()
        assert (text, events[-1]["status"]) == ("one", "succeeded")


BAD = [
    ({"kind": "test.echo", "payload": {"x": "1"}}, 422, "payload.invalid", "payload.x"),
    ({"kind": "test.echo", "payload": {}}, 422, "payload.invalid", "payload.x"),
    ({"kind": "test.echo", "payload": {"x": 1, "z": 1}}, 422, "payload.invalid", "payload.z"),
    ({"kind": "test.echo", "payload": {"x": 1, "deep": {"y": 5}}}, 422, "payload.invalid", "payload.deep.y"),
    ({"kind": "no.such", "payload": {}}, 422, "kind.unknown", "kind"),
    ({**ECHO, "teir": "low"}, 422, "request.invalid", "teir"),
    ({**ECHO, "tier": "middle"}, 422, "request.invalid", "tier"),
    ({"kind": "test.echo", "payload": [1]}, 422, "request.invalid", "payload"),
    ({**ECHO, "ordering_key": ""}, 422, "request.invalid", "ordering_key"),
    (b'{"kind": "test.echo", "payload": {"x": NaN}}', 400, "request.invalid", "body"),
    (b'{"kind": "test.echo", "payload": {"x": "\\ud800"}}', 400, "request.invalid", "body"),
    (b"[" * 100_000, 400, "request.invalid", "body"),
    (b"{", 400, "request.invalid", "body"),
    (b"", 400, "request.invalid", "body"),
    ({"kind": "test.echo", "payload": {"x": 1, "z": "y" * 600_000}}, 422, "payload.invalid", "payload.z"),
    ({"kind": "test.echo"}, 422, "payload.invalid", "payload"),
    ({**ECHO, "payload_ref": "blob:sha256:" + "0" * 64}, 422, "payload.invalid", "payload_ref"),
    ({"kind": "test.echo", "payload_ref": "blob:sha256:" + "0" * 64}, 404, "blob.missing", "payload_ref"),
    ({"kind": "test.echo", "payload_ref": "../x"}, 404, "blob.missing", "payload_ref"),
    (b'{"kind": "' + b"y" * 40_000_000, 413, "payload.too_large", "body"),
    (b"null", 422, "request.invalid", "body"),
    (b"[]", 422, "request.invalid", "body"),
    (b'"x"', 422, "request.invalid", "body"),
    ({**ECHO, "deadline": "0001-01-01T00:00:00+14:00"}, 422, "request.invalid", "deadline"),
    ({**ECHO, "deadline": "1969-12-31T23:59:59Z"}, 422, "request.invalid", "deadline"),
    (
        {"kind": "llm.chat", "payload": {"messages": json.loads("[" * 300 + "]" * 300)}},
        422,
        "payload.invalid",
        "payload",
    ),
]


@pytest.mark.parametrize(("body", "status", "code", "field"), BAD)
async def test_a_bad_submit_names_its_field(edge, body, status, code, field):
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = await edge.http.post("/v1/tasks", content=content, headers={"Content-Type": "application/json"})
    problem = response.json()
    assert (response.status_code, problem["code"], problem.get("field")) == (status, code, field), problem
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert len(problem["detail"]) < 400


@pytest.mark.parametrize(
    ("frame", "code", "field"),
    [
        ({"type": "submit", "kind": "test.echo", "payload": {"x": "1"}}, "payload.invalid", "payload.x"),
        ({"type": "submit", "kind": "no.such", "payload": {}}, "kind.unknown", "kind"),
        ({"type": "submit", "kind": "test.echo", "payload": {"x": 1}, "teir": 1}, "request.invalid", None),
        ({"type": "submit", **ECHO, "deadline": "9999-12-31T23:59:59-14:00"}, "request.invalid", "deadline"),
        ({"type": "submit", **ECHO, "deadline": "1969-12-31T23:59:59Z"}, "request.invalid", "deadline"),
        ({"type": "ask", "prompt": "x", "messages": []}, "request.invalid", "prompt"),
        ({"type": "ask", "prompt": "x", "options": {"messages": []}}, "request.invalid", "options.messages"),
        ({"type": "ask", "prompt": "x", "tier": "no"}, "request.invalid", "tier"),
        ({"type": "subscribe"}, "request.invalid", "task"),
        ({"type": "subscribe", "task": "x", "all": True}, "request.invalid", "task"),
        ({"type": "subscribe", "task": "unknown"}, "task.unknown", None),
        ({"type": "nonsense"}, "request.invalid", "type"),
        ({"type": "submit", "kind": "test.echo", "payload": {"x": 1}, "idempotency_key": ""}, "request.invalid", "idempotency_key"),
    ],
)  # fmt: skip
async def test_a_bad_frame_is_told_and_disturbs_nothing(edge, frame, code, field):
    async with edge.socket() as socket:
        told = await socket.ask("error", ref="bad", **frame)
        assert (told["code"], told.get("field"), told["ref"]) == (code, field, "bad")
        for raw in ("{", "[]", '{"type": 5}', b"\x00", "[" * 50_000):
            await socket.connection.send(raw)
            assert (await socket.hear("error"))["code"] == "request.invalid"
        assert await socket.ask("pong", type="ping", ref="p") == {"type": "pong", "ref": "p"}


async def test_who_is_not_known_gets_in_nowhere(edge):
    stranger = {"Authorization": "Bearer wrong"}
    for method, path in [
        ("GET", "/v1/kinds"),
        ("POST", "/v1/tasks"),
        ("GET", "/v1/tasks/x"),
        ("DELETE", "/v1/schedules/x"),
    ]:
        response = await edge.http.request(method, path, headers=stranger, json=ECHO if method == "POST" else None)
        assert (response.status_code, response.json()["code"]) == (401, "auth.unauthenticated")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    with pytest.raises(InvalidStatus) as refused:
        async with edge.socket(**stranger):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["code"] == "auth.unauthenticated"
    with pytest.raises(InvalidStatus) as refused:
        async with edge.socket(Origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    async with edge.socket(Origin=f"http://127.0.0.1:{edge.port}") as socket:
        await socket.ask("pong", type="ping")


async def test_schedules_are_made_changed_looked_at_and_removed(edge, services):
    from schemas.records import Fire, FireOutcome
    from schemas.topics import TIMERS_FIRED

    made = await edge.http.post("/v1/schedules", json={"task": ECHO, "every": 60, "jitter": 0.5})
    assert made.status_code == 201, made.text
    schedule = made.json()
    path = made.headers["Location"]
    assert (schedule["every"], schedule["jitter"], schedule["active"], schedule["topic"]) == (
        60,
        0.5,
        True,
        "edge-tests.timers",
    )
    assert schedule["next"] > schedule["created_at"]
    changed = await edge.http.post(
        "/v1/schedules", json={"task": ECHO, "cron": "0 8 * * *", "tz": "Europe/Berlin", "id": schedule["id"]}
    )
    assert (changed.json()["revision"], changed.json()["cron"]) == (2, "0 8 * * *")
    fire = Fire(timer_id=schedule["id"], slot=0, outcome=FireOutcome.LATE, at=1_500, late_by=1_500, task_id="t")
    await services.producer.send(TIMERS_FIRED, fire.timer_id, fire)
    shown = await edge.until(path, lambda body: body["fires"])
    assert shown["fires"] == [
        {
            "slot": "1970-01-01T00:00:00.000Z",
            "at": "1970-01-01T00:00:01.500Z",
            "count": 1,
            "outcome": "late",
            "late_by_ms": 1_500,
            "task_id": "t",
        }
    ]
    assert shown["task"] == {"kind": "test.echo", "tier": "batch", "payload": {"x": 1}}
    # A fire of this moment is shown once its task can be looked up.
    receipt = await submitted(edge)
    for slot, task_id in [(1, "not-there-yet"), (2, receipt["id"])]:
        fire = Fire(timer_id=schedule["id"], slot=slot, outcome=FireOutcome.FIRED, at=now_ms(), task_id=task_id)
        await services.producer.send(TIMERS_FIRED, fire.timer_id, fire)
        if slot == 1:
            await edge.until(f"/v1/tasks/{(await submitted(edge))['id']}", bool)
            assert len((await edge.http.get(path)).json()["fires"]) == 1
    await edge.until(path, lambda body: len(body["fires"]) == 3)
    assert (await edge.http.delete(path)).status_code == 204
    assert (await edge.http.get(path)).json()["active"] is False
    gone = await edge.http.delete(path)
    assert (gone.status_code, gone.json()["code"]) == (404, "schedule.unknown")


@pytest.mark.parametrize(
    ("times", "field"),
    [
        ({}, "at"),
        ({"every": 5, "cron": "* * * * *"}, "every"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * * * *", "tz": "Mars/Base"}, "tz"),
        ({"at": "2030-01-01T00:00:00"}, "at"),
        ({"every": 0}, "every"),
        ({"every": 5, "tz": "UTC"}, "tz"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"at": "9999-12-31T23:59:59-14:00"}, "at"),
        ({"every": 5, "id": "a\nb"}, "id"),
        ({"every": 5, "id": "a\x00"}, "id"),
        ({"every": 5, "id": ".."}, "id"),
        ({"every": 5, "id": ""}, "id"),
    ],
)
async def test_a_bad_schedule_names_its_field(edge, times, field):
    response = await edge.http.post("/v1/schedules", json={"task": ECHO, **times})
    assert response.status_code in {400, 422}
    assert (response.json()["code"], response.json()["field"]) == ("request.invalid", field)


@pytest.mark.parametrize("identity", ["grüße 早上", "a/b?c#d%20", '"quoted"\\', "..."])
async def test_a_schedule_of_any_id_is_found_where_it_is_said_to_be(edge, identity):
    made = await edge.http.post("/v1/schedules", json={"task": ECHO, "every": 3_600, "id": identity})
    assert (made.status_code, made.json()["id"]) == (201, identity), made.text
    found = await edge.http.get(made.headers["Location"])
    assert (found.status_code, found.json()["id"]) == (200, identity)
    assert (await edge.http.delete(made.headers["Location"])).status_code == 204


async def test_an_idempotency_key_that_is_given_twice_is_the_same_one(edge):
    key = str(uuid.uuid4())
    body = {**ECHO, "idempotency_key": key}
    refused = await edge.http.post("/v1/tasks", json=body, headers={"Idempotency-Key": "another"})
    assert (refused.status_code, refused.json()["field"]) == (422, "Idempotency-Key")
    assert (await edge.http.post("/v1/tasks", json=body, headers={"Idempotency-Key": key})).status_code == 202


async def test_a_payload_fits_however_it_is_escaped(edge, services):
    await services.announce("test.text", {"type": "object"})
    body = b'{"kind": "test.text", "payload": {"t": "' + b"\\u0061" * 500_000 + b'"}}'
    headers = {"Content-Type": "application/json"}
    response = await edge.http.post("/v1/tasks", content=body, headers=headers, timeout=30)
    assert response.status_code == 202, response.text


async def test_one_strange_event_loses_nobody_elses(edge, services):
    import msgspec

    from backbone import outcome
    from schemas.topics import RESULTS

    async with edge.socket() as socket:
        receipt = (await socket.ask("accepted", type="submit", **ECHO))["task"]
        task = task_of(receipt)
        started = outcome.event(task, Status.STARTED, now=now_ms(), worker="tests")
        for strange in (
            msgspec.structs.replace(started, at=10**17),
            msgspec.structs.replace(started, at=10**17, status=Status.SUCCEEDED),
            msgspec.structs.replace(started, status=Status.SUCCEEDED, result=b"no document"),
            msgspec.structs.replace(started, task_id="other\x00", at=-(10**18)),
        ):
            await services.producer.send(RESULTS, task.key, strange)
        await services.say(task, Status.SUCCEEDED, result=b"[1]")
        _, events = await socket.hear_all()
        assert [(event["status"], event["result"]) for event in events] == [("succeeded", [1])]
    state = await edge.until(f"/v1/tasks/{task.id}", lambda body: body["status"] == "succeeded")
    assert state["result"] == [1]


async def test_the_last_words_of_an_answer_are_told_before_its_end(edge, services):
    async with edge.socket() as socket:
        receipt = (await socket.ask("accepted", **ASK))["task"]
        task = task_of(receipt)
        claim = await services.claim(task)
        await services.tokens(task, claim, 0, "Hel")
        await services.say(task, Status.SUCCEEDED, "lo", claim=claim, tokens=1, result=b"{}")
        assert (await socket.hear_all())[0] == "Hello"
        await socket.ask("subscribed", type="subscribe", task=task.id)
        assert (await socket.hear_all())[0] == "Hello"


async def test_what_the_edge_says_of_itself(edge):
    kinds = (await edge.http.get("/v1/kinds")).json()["kinds"]
    assert {"test.echo", "llm.chat"} <= {kind["kind"] for kind in kinds}
    assert (await edge.http.get("/healthz")).json() == {"alive": True}
    ready = (await edge.http.get("/readyz")).json()
    assert ready["ready"]
    assert "connectors" in [service["service"] for service in ready["services"]]
    await submitted(edge)
    metrics = (await edge.http.get("/metrics")).text
    assert 'barnabas_edge_submits_total{kind="test.echo",result="accepted",tier="batch"}' in metrics
    assert "barnabas_edge_projection_lag" in metrics
    document = (await edge.http.get("/openapi.json")).json()
    answers = document["paths"]["/v1/tasks"]["post"]["responses"]
    assert {"202", "400", "401", "409", "413", "422", "503"} <= answers.keys()
    assert "application/problem+json" in answers["422"]["content"]


async def test_the_page_of_the_api_loads_nothing_from_elsewhere(edge):
    page = await edge.http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(loaded) == 3
    assert "://" not in page.text
    for path in loaded:
        assert (await edge.http.get(path)).status_code == 200
    assert (await edge.http.get("/redoc")).status_code == 404
    missing = await edge.http.get("/nowhere")
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")


async def test_with_redis_away_plain_submits_go_on_and_what_must_decide_is_refused(
    settings, services, tmp_path, unused_tcp_port_
):
    from pydantic import SecretStr

    away = SecretStr(f"redis://127.0.0.1:{unused_tcp_port_}/0")
    from connectors.edge import running
    from tests.connectors.conftest import Caller

    config = edge_settings(settings, tmp_path, redis_url=away)
    async with running(config) as up, Log(settings, TASKS[Tier.BATCH]) as log:
        edge = Caller(up.port)
        ready = await edge.until("/readyz", lambda body: body["detail"] == "Redis does not answer")
        assert ready["ready"] is False
        receipt = await submitted(edge)
        assert receipt["id"] in [task.id for task in await log.until(bool)]
        for method, path, body in [
            ("POST", "/v1/tasks", {**ECHO, "idempotency_key": "k"}),
            ("DELETE", f"/v1/tasks/{receipt['id']}", None),
            ("GET", f"/v1/tasks/{receipt['id']}", None),
        ]:
            refused = await edge.http.request(method, path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (503, "store.unavailable")
            assert refused.headers["Retry-After"]
        await edge.http.aclose()


@pytest.fixture
def unused_tcp_port_():
    import socket

    with socket.socket() as taken:  # bound and not listening: nobody answers, and nobody else takes it
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_two_edges_serve_the_same_tasks(edge, services, settings, tmp_path):
    async with edge_up(edge_settings(settings, tmp_path)) as other, other.socket() as socket:
        receipt = await submitted(edge)
        await socket.ask("subscribed", type="subscribe", task=receipt["id"])
        await services.say(task_of(receipt), Status.SUCCEEDED, result=b"1")
        _, events = await socket.hear_all()
        assert events[-1]["result"] == 1


async def test_a_conversation_lies_in_one_partition(edge, settings):
    async with Log(settings, INFERENCE[Tier.REALTIME]) as log:
        body = {"kind": "llm.chat", "payload": {"messages": []}, "conversation": "c1"}
        receipts = [(await edge.http.post("/v1/tasks", json=body)).json() for _ in range(3)]
        await log.until(lambda tasks: len(tasks) >= 3)
    assert {receipt["key"] for receipt in receipts} == {"c1"}
    assert len({receipt["partition"] for receipt in receipts}) == 1
