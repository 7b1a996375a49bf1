"""Edges that die in the middle of streams: clients come back to another one, over another protocol, and hear the rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from backbone.clock import now_ms
from connectors import cursor as cursors
from connectors.cursor import FeedCursor, TaskCursor
from schemas.records import DeltaType, Status, TokenDelta
from schemas.topics import TOKENS
from tests.connectors.conftest import edge_process, free_port, task_of
from tests.support import until

pytestmark = [pytest.mark.stack, pytest.mark.slow]

STREAMS = 200
PIECES = 12
ECHO = {"kind": "test.echo", "payload": {"x": 1}}


@dataclass
class Heard:
    """What one client heard of a task, over whatever connections."""

    text: str = ""
    count: int = 0
    cursor: str | None = None
    events: list[str] = field(default_factory=list)

    def take(self, frame) -> bool:
        """Take a frame; return whether it is the end."""
        self.cursor = frame.get("cursor") or self.cursor
        if frame["type"] == "tokens":
            assert frame["index"] == self.count, "a hole or a repeat"
            self.count += frame["count"]
            self.text += frame["text"]
        elif frame["type"] == "event":
            self.events.append(f"{frame['status']} {frame['offset']}")
            return Status(frame["status"]).terminal
        else:
            assert frame["type"] in {"accepted", "subscribed"}, frame
        return False


def words(number: int) -> list[str]:
    return [f"{number}:{piece} é😀 " for piece in range(PIECES)]


async def speak(services, tasks, half: asyncio.Event, go_on: asyncio.Event) -> None:
    """Say all answers, piece by piece, and stop in the middle until told to go on; a worker that lost some talks in between."""
    claims = [await services.claim(task) for task in tasks]
    for task in tasks:
        await services.say(task, Status.STARTED)
    for piece in range(PIECES):
        if piece == PIECES // 2:
            half.set()
            await go_on.wait()
        said = []
        for number, task in enumerate(tasks):
            if piece == 3 and number % 5 == 0:
                claims[number] = await services.claim(task, piece)
                await services.tokens(task, claims[number] - 1, piece, "of a worker that lost it")
            delta = TokenDelta(
                task_id=task.id, type=DeltaType.TOKENS, claim=claims[number], index=piece, token_ids=[piece],
                text=words(number)[piece],
            )  # fmt: skip
            said.append(services.producer.send(TOKENS, task.key, delta))
        await asyncio.gather(*said)
    for number, task in enumerate(tasks):
        await services.say(task, Status.SUCCEEDED, claim=claims[number], tokens=PIECES)


async def by_socket(caller, task_id: str, heard: Heard) -> None:
    async with caller.socket() as socket:
        await socket.say(type="subscribe", task=task_id, **({"cursor": heard.cursor} if heard.cursor else {}))
        while not heard.take(await socket.hear(limit=60)):
            pass


async def by_events(caller, task_id: str, heard: Heard) -> None:
    async with caller.events(f"/v1/tasks/{task_id}/events", heard.cursor) as events:
        while (frame := await events.hear(limit=60)) is not None and not heard.take(frame):
            pass


async def test_an_edge_is_killed_in_the_middle_of_many_streams(settings, services, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with (
        edge_process(settings, folders[0], free_port()) as (dies, first),
        edge_process(settings, folders[1], free_port()) as (_, second),
    ):
        receipts = []
        async with first.socket() as socket:
            for number in range(STREAMS):
                frame = {"type": "ask", "ref": str(number), "prompt": "hello"}
                receipts.append((await socket.ask("accepted", **frame))["task"])
                await socket.say(type="unsubscribe", task=receipts[-1]["id"])
        tasks = [task_of(receipt) for receipt in receipts]
        heard = [Heard() for _ in tasks]
        half, go_on = asyncio.Event(), asyncio.Event()
        hearing = [asyncio.create_task(by_socket(first, task.id, one)) for task, one in zip(tasks, heard, strict=True)]

        async def all_hear() -> bool:
            for one in hearing:
                assert not one.done(), one.result()
            return all(one.cursor for one in heard)

        await until(all_hear)
        speaking = asyncio.create_task(speak(services, tasks, half, go_on))
        await half.wait()

        async def some_heard() -> bool:
            return sum(one.count for one in heard) > STREAMS

        await until(some_heard)
        dies.kill()
        broken = await asyncio.gather(*hearing, return_exceptions=True)
        assert all(isinstance(one, ConnectionClosed) for one in broken)
        assert 0 < sum(one.count for one in heard) <= STREAMS * PIECES // 2
        # Half of them come back over the other protocol.
        again = [
            (by_events if number % 2 else by_socket)(second, task.id, one)
            for number, (task, one) in enumerate(zip(tasks, heard, strict=True))
        ]
        go_on.set()
        await asyncio.gather(speaking, *again)
    for number, one in enumerate(heard):
        assert one.text == "".join(words(number))
        assert [event.split()[0] for event in one.events] == ["started", "succeeded"]


async def test_all_of_ones_own_goes_on_at_another_edge_where_it_stopped(settings, services, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with (
        edge_process(settings, folders[0], free_port()) as (dies, first),
        edge_process(settings, folders[1], free_port()) as (_, second),
    ):
        heard: dict[str, Heard] = {}
        cursor = None

        async def take(frame) -> None:
            nonlocal cursor
            cursor = frame["cursor"]
            if frame["type"] != "subscribed":
                assert frame["via"] == "all"
                heard.setdefault(frame["task"], Heard()).take(frame)

        async with first.socket() as socket:
            await socket.say(type="subscribe", all=True)
            await take(await socket.hear("subscribed"))
            plain = task_of((await first.http.post("/v1/tasks", json=ECHO)).json())
            asked = task_of(
                (await first.http.post("/v1/tasks", json={"kind": "llm.chat", "payload": {"messages": []}})).json()
            )
            await services.say(plain, Status.STARTED)
            claim = await services.claim(asked)
            await services.say(asked, Status.STARTED)
            await services.tokens(asked, claim, 0, "It ", "was ")
            while sum(one.count for one in heard.values()) < 2:
                await take(await socket.hear())
        dies.kill()
        # Nobody listens meanwhile.
        await services.tokens(asked, claim, 2, "so")
        await services.say(plain, Status.SUCCEEDED, result=b"{}")
        late = task_of((await second.http.post("/v1/tasks", json=ECHO)).json())
        await services.say(late, Status.STARTED)
        async with second.events("/v1/events", cursor) as events:
            await take(await events.hear())
            await services.say(asked, Status.SUCCEEDED, claim=claim, tokens=3)
            await services.say(late, Status.SUCCEEDED, result=b"{}")
            while {"succeeded"} != {one.events[-1].split()[0] for one in heard.values() if one.events}:
                await take(await events.hear())
        assert {task: [event.split()[0] for event in one.events] for task, one in heard.items()} == {
            key: ["started", "succeeded"] for key in (plain.id, asked.id, late.id)
        }
        assert heard[asked.id].text == "It was so"


async def test_a_conversation_is_heard_as_a_whole_and_goes_on_where_it_stopped(edge, services):
    async def ask(number):
        body = {"kind": "llm.chat", "payload": {"messages": []}, "conversation": "c-1"}
        return msgspec.structs.replace(
            task_of((await edge.http.post("/v1/tasks", json=body)).json()), conversation="c-1"
        )

    async with edge.socket() as socket:
        await socket.ask("subscribed", type="subscribe", conversation="c-1")
        first = await ask(1)
        await edge.http.post("/v1/tasks", json={**ECHO})
        claim = await services.claim(first)
        await services.say(first, Status.STARTED)
        await services.tokens(first, claim, 0, "one")
        frames = [await socket.hear() for _ in range(2)]
        assert [(frame["type"], frame["task"], frame["via"]) for frame in frames] == [
            ("event", first.id, "conversation:c-1"), ("tokens", first.id, "conversation:c-1"),
        ]  # fmt: skip
    await services.say(first, Status.SUCCEEDED, claim=claim, tokens=1)
    second = await ask(2)
    await services.say(second, Status.STARTED)
    async with edge.socket() as socket:
        await socket.ask("subscribed", type="subscribe", conversation="c-1", cursor=frames[-1]["cursor"])
        rest = [await socket.hear("event") for _ in range(2)]
    assert {(frame["task"], frame["status"]) for frame in rest} == {(first.id, "succeeded"), (second.id, "started")}


@pytest.mark.parametrize("protocol", ["socket", "events"])
async def test_a_cursor_that_is_none_of_the_subscription_is_refused_by_name(edge, services, protocol):
    receipt = (await edge.http.post("/v1/tasks", json=ECHO)).json()
    other = (await edge.http.post("/v1/tasks", json=ECHO)).json()
    log = 0
    wrong = {
        "no cursor": "x" * 10,
        "of another task": cursors.write(TaskCursor(log, other["id"], other["partition"])),
        "of a feed": cursors.write(FeedCursor(log, now_ms(), {})),
        "of another cluster": cursors.write(TaskCursor(log + 1, receipt["id"], receipt["partition"])),
    }
    for cursor in wrong.values():
        if protocol == "socket":
            async with edge.socket() as socket:
                error = await socket.ask("error", type="subscribe", task=receipt["id"], cursor=cursor)
        else:
            answer = await edge.http.get(f"/v1/tasks/{receipt['id']}/events", headers={"Last-Event-ID": cursor})
            assert answer.status_code == 400
            error = answer.json()
        assert (error["code"], error["field"]) == ("cursor.invalid", "cursor")
    async with edge.socket() as socket:
        error = await socket.ask("error", type="subscribe", all=True, cursor=wrong["of another task"])
        assert error["code"] == "cursor.invalid"


async def test_events_end_with_the_task_and_nothing_follows_the_last_cursor(edge, services):
    task = task_of((await edge.http.post("/v1/tasks", json=ECHO)).json())
    path = f"/v1/tasks/{task.id}/events"
    async with edge.events(path) as events:
        assert events.response.headers["content-type"].startswith("text/event-stream")
        assert (await events.hear())["type"] == "subscribed"
        await services.say(task, Status.STARTED)
        started = await events.hear()
        await services.say(task, Status.SUCCEEDED, result=b"[]")
        done = await events.hear()
        assert (done["status"], await events.hear()) == ("succeeded", None)
    async with edge.events(path, started["cursor"]) as events:
        assert [(await events.hear())["type"], (await events.hear())["status"]] == ["subscribed", "succeeded"]
    await edge.until(f"/v1/tasks/{task.id}", lambda body: body["status"] == "succeeded")
    assert (await edge.http.get(path, headers={"Last-Event-ID": done["cursor"]})).status_code == 204
    assert (await edge.http.get("/v1/tasks/0199d3a4-5c1e-7a60-8f43-0242ac120002/events")).status_code == 404
