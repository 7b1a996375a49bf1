"""A running edge on the run's Kafka and Valkey, and what a test does with it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from backbone import outcome
from backbone.clock import now_ms
from backbone.kafka import Producer
from connectors.edge import running
from schemas.records import DeltaType, Kind, Status, Task, TokenDelta
from schemas.tiers import Tier
from schemas.topics import KINDS, RESULTS, TOKENS
from tests.support import apart, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backbone.settings import Settings
    from barnabas.local.stack import LocalStack

KEY = "a-key-of-tests"
PAYLOAD_SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "deep": {"type": "object", "properties": {"y": {"type": "string"}}}},
    "required": ["x"],
    "additionalProperties": False,
}


@pytest.fixture(scope="session")
async def settings(stack: LocalStack) -> Settings:
    """The run's servers, and topics that no service reads: the tests play the services."""
    return await apart(stack.settings, "edge-tests")


class Played:
    """Plays the services: announces kinds, and writes events and tokens."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    async def announce(self, kind: str, schema: Any, tier: Tier = Tier.BATCH) -> None:
        record = Kind(
            kind=kind, tier=tier, service="tests", payload_schema=json.dumps(schema).encode(), result_schema=b"{}"
        )
        await self.producer.send(KINDS, kind, record)

    async def say(self, task: Task, status: Status, last_words: str = "", **fields: Any) -> int:
        if status.terminal and "claim" in fields:  # a worker ends its tokens before it tells of the end
            end = TokenDelta(
                task_id=task.id, type=DeltaType.END, claim=fields["claim"], index=fields["tokens"], text=last_words
            )
            await self.producer.send(TOKENS, task.key, end)
        event = outcome.event(task, status, now=now_ms(), worker="tests", **fields)
        return (await self.producer.send(RESULTS, task.key, event))[1]

    async def claim(self, task: Task, index: int = 0) -> int:
        delta = TokenDelta(task_id=task.id, type=DeltaType.CLAIM, claim=-1, index=index)
        return (await self.producer.send(TOKENS, task.key, delta))[1]

    async def tokens(self, task: Task, claim: int, index: int, *texts: str) -> None:
        for number, text in enumerate(texts, index):
            delta = TokenDelta(
                task_id=task.id, type=DeltaType.TOKENS, claim=claim, index=number, token_ids=[number], text=text
            )
            await self.producer.send(TOKENS, task.key, delta)


class Caller:
    """A client of an edge, as bare as may be."""

    def __init__(self, port: int, key: str = KEY) -> None:
        self.port = port
        self.headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=self.headers, trust_env=False)

    @asynccontextmanager
    async def socket(self, **headers: str) -> AsyncIterator[Socket]:
        address = f"ws://127.0.0.1:{self.port}/v1/ws"
        async with connect(address, additional_headers={**self.headers, **headers}, proxy=None) as connection:
            yield Socket(connection)

    @asynccontextmanager
    async def events(self, path: str, cursor: str | None = None) -> AsyncIterator[EventStream]:
        """Server-sent events."""
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        async with self.http.stream("GET", path, headers=headers, timeout=60) as response:
            yield EventStream(response)

    async def until(self, path: str, condition: Any, limit: float = 20) -> Any:
        async with asyncio.timeout(limit):
            while not condition(body := (await self.http.get(path)).json()):  # noqa: ASYNC110 - it is far away
                await asyncio.sleep(0.02)
        return body


class EventStream:
    """Server-sent events, read as the standard says."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def hear(self, limit: float = 20) -> Any:
        """Return the next event's data, or None at the end; its id is the data's cursor."""
        event: dict[str, str] = {}
        async with asyncio.timeout(limit):
            async for line in self._lines:
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    data = json.loads(event["data"])
                    assert (event["event"], event.get("id")) == (data["type"], data.get("cursor"))
                    return data
                else:
                    continue
        return None


class Socket:
    """A WebSocket that speaks JSON."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def say(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def hear(self, kind: str | None = None, limit: float = 20) -> Any:
        async with asyncio.timeout(limit):
            frame = json.loads(await self.connection.recv())
        assert kind is None or frame["type"] == kind, frame
        return frame

    async def ask(self, expected: str | None = None, /, **frame: Any) -> Any:
        await self.say(**frame)
        return await self.hear(expected)

    async def hear_tokens(self, index: int, count: int, limit: float = 20) -> str:
        """Return the text of so many tokens from an index; they are held against holes and repeats."""
        text, end = "", index + count
        while index < end:
            frame = await self.hear("tokens", limit)
            assert frame["index"] == index
            index += frame["count"]
            text += frame["text"]
        return text

    async def hear_all(self, limit: float = 20) -> tuple[str, list[Any]]:
        """Return the text and the events until a terminal one; indexes are held against holes and repeats."""
        text, count, events = "", 0, []
        while True:
            frame = await self.hear(limit=limit)
            if frame["type"] == "tokens":
                assert frame["index"] == count
                count += frame["count"]
                text += frame["text"]
            else:
                assert frame["type"] == "event", frame
                events.append(frame)
                if Status(frame["status"]).terminal:
                    return text, events


def task_of(receipt: Any) -> Task:
    """Return the task of a receipt as the service that does it has it."""
    return Task(
        id=receipt["id"], key=receipt["key"], kind=receipt["kind"], tier=Tier(receipt["tier"]), owner="local",
        tenant="local", root_id=receipt["id"],
    )  # fmt: skip


def edge_settings(settings: Settings, folder: Any, **more: Any) -> Settings:
    file = folder / "api-key"
    file.write_text(f"{KEY}\n")
    return settings.model_copy(update={"api_key_file": file, "edge_port": 0, **more})


@asynccontextmanager
async def edge_up(settings: Settings) -> AsyncIterator[Caller]:
    async with running(settings) as edge:
        caller = Caller(edge.port)
        await caller.until("/readyz", lambda body: body["ready"])
        yield caller
        await caller.http.aclose()


@asynccontextmanager
async def edge_process(
    settings: Settings, folder: Path, port: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Caller]]:
    """An edge that is a process of its own, and serves."""
    (folder / "api-key").write_text(KEY)
    environment = {
        **os.environ,
        "BARNABAS_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "BARNABAS_REDIS_URL": settings.redis_url.get_secret_value(),
        "BARNABAS_HOME": str(folder),
        "BARNABAS_EDGE_PORT": str(port),
        "BARNABAS_TOPIC_PREFIX": settings.topic_prefix,
    }
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "connectors", env=environment)
    caller = Caller(port)

    async def ready() -> bool:
        try:
            return (await caller.http.get("/readyz")).status_code == 200
        except httpx.ConnectError:
            return False

    try:
        await until(ready, limit=40)
        yield child, caller
    finally:
        await caller.http.aclose()
        if child.returncode is None:
            child.kill()
        await child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
async def services(settings: Settings) -> AsyncIterator[Played]:
    producer = Producer(settings)
    await producer.start()
    services = Played(producer)
    await services.announce("test.echo", PAYLOAD_SCHEMA)
    await services.announce("llm.chat", {"type": "object", "required": ["messages"]}, Tier.REALTIME)
    yield services
    await producer.stop()


@pytest.fixture(scope="session")
async def edge(settings: Settings, services: Played, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    async with edge_up(edge_settings(settings, tmp_path_factory.mktemp("edge"))) as caller:
        yield caller
