"""A server of the OpenAI API that answers as a test scripts it, however wrong that is.

async with FaultyServer() as server:
    server.script(events("Hel", "lo", finish="stop"), status(500), broken(events("Hel")))
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self

HOST = "127.0.0.1"
NAME = "scripted"


@dataclass
class Scripted:
    """One answer.

    Attributes:
        status: of HTTP.
        headers: beside the length.
        body: what is sent.
        breaks: whether the connection ends before the body does.
        hangs: whether nothing more comes, and the connection stays.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    breaks: bool = False
    hangs: bool = False


def event(**choice: Any) -> bytes:
    """Return the event of a chunk."""
    return b"data: " + json.dumps({"choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def said(text: str) -> bytes:
    return event(delta={"content": text}, finish_reason=None)


def counted(prompt: int, completion: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def answer(*texts: str, finish: str = "stop", usage: tuple[int, int] = (3, 2)) -> Scripted:
    """Return an answer that is whole."""
    return Scripted(b"".join(map(said, texts)) + event(delta={}, finish_reason=finish) + counted(*usage) + DONE)


def broken(*texts: str) -> Scripted:
    """Return one that breaks off."""
    return Scripted(b"".join(map(said, texts)), breaks=True)


def hanging(*texts: str) -> Scripted:
    """Return one that goes on no more."""
    return Scripted(b"".join(map(said, texts)), hangs=True)


def refused(status: int, message: str = "no", **headers: str) -> Scripted:
    """Return an error."""
    body = json.dumps({"error": {"message": message, "code": None}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Scripted(body, status, {"Content-Type": "application/json", **named})


class FaultyServer:
    """Gives its answers one after the other, and keeps what it was asked.

    Attributes:
        asked: the bodies of all that was asked for an answer.
        headers: of the latest request.
        left: how many connections were ended by the client while an answer hung.
        models: what its list of models says, None: it has none.
    """

    def __init__(self, owned_by: str = "llamacpp") -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.left = 0
        self.models: list[dict[str, Any]] | None = [{"id": NAME, "owned_by": owned_by, "created": 1}]
        self._answers: list[Scripted] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}/v1"

    def script(self, *answers: Scripted) -> None:
        """Add answers."""
        self._answers += answers

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            self.headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(self.headers.get("content-length", "0")))
            await self._send(reader, writer, self._next(head[0], body))
        finally:
            writer.close()
            self._tasks.discard(task)

    def _next(self, request: str, body: bytes) -> Scripted:
        if request.startswith("GET"):
            if self.models is None:
                return refused(404)
            listed = json.dumps({"object": "list", "data": self.models}).encode()
            return Scripted(listed, headers={"Content-Type": "application/json"})
        self.asked.append(json.loads(body))
        return self._answers.pop(0)

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one: Scripted) -> None:
        headers = {"Connection": "close", **one.headers}
        if not (one.breaks or one.hangs):
            headers["Content-Length"] = str(len(one.body))
        else:
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {one.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if "Content-Length" in headers:
            writer.write(one.body)
        elif one.body:
            writer.write(f"{len(one.body):x}\r\n".encode() + one.body + b"\r\n")
        await writer.drain()
        if one.hangs:
            await reader.read()
            self.left += 1
