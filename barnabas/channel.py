"""The client's WebSocket: many tasks on one connection, which comes back by itself when it breaks.

Frames carry the task they are of, so one connection serves many subscriptions, one a task. Each frame has a cursor: after a
break each subscription is asked for anew with its last one, and the edge tells the rest. `fold` drops what was told before.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from barnabas.errors import ClientError, ConnectionLostError, EdgeError, NoStackError
from barnabas.fold import Fold
from barnabas.refusal import refusal
from barnabas.replies import Event, Gap, Receipt, Tokens
from schemas.errors import BarnabasError, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.endpoint import Endpoint

ALL = "*"
"""Stands for all of one's own tasks where a task's id stands otherwise."""

OF_CONVERSATION = "conversation:"
"""What stands before a conversation where a task's id stands otherwise."""

BACKLOG = 1000
"""Frames that may wait in a subscription to all; then the connection is read no further until some are taken."""

MAX_FRAME = 16 * 1024 * 1024
AGAIN_SECONDS = 0.05
"""First pause before a broken connection is tried anew."""


class Subscription:
    """What happens to one task and to the steps that follow it, to all of one's own, or to those of a conversation."""

    def __init__(self, *, everything: bool = False, resumed: bool = False) -> None:
        """Begin.

        Args:
            everything: whether it is one to all tasks.
            resumed: whether it goes on from a cursor.
        """
        self._resumed = resumed
        loop = asyncio.get_running_loop()
        self.task: str = ""
        self.receipt: Receipt | None = None
        self.cursor: str | None = None
        """What the edge is to go on from."""
        self.opened: asyncio.Future[None] = loop.create_future()
        # One task says no more than its answer is long; all tasks together may say anything.
        self.frames: asyncio.Queue[Event | Tokens | Gap | BarnabasError] = asyncio.Queue(BACKLOG if everything else 0)

    async def fail(self, error: BarnabasError) -> None:
        """Let whoever waits know that nothing more comes."""
        if not self.opened.done():
            self.opened.set_exception(error)
        else:
            await self.frames.put(error)

    async def __aiter__(self) -> AsyncIterator[Event | Tokens | Gap]:
        """Yield each frame once, until the task and all that follows it ended.

        Raises:
            BarnabasError: nothing more can come.
        """
        folds: dict[str, Fold] = {}
        while True:
            frame = await self.frames.get()
            if isinstance(frame, BarnabasError):
                raise frame
            over = isinstance(frame, Event) and frame.status.terminal
            last = isinstance(frame, Event) and frame.last
            if isinstance(frame, Gap) and frame.task is None:
                yield frame
                continue
            new = folds.setdefault(frame.task or "", Fold(resumed=self._resumed)).take(frame)
            if new is not None:
                yield new
            if over:
                del folds[frame.task or ""]
            if last and not many(self.task):
                return


class Channel:
    """A connection to the edge, made when it is first needed."""

    def __init__(self, endpoint: Endpoint, *, patience: float) -> None:
        """Make a connection that is not open yet.

        Args:
            endpoint: the edge.
            patience: seconds for which a broken connection is tried anew.
        """
        self._endpoint = endpoint
        self._patience = patience
        self._refs = itertools.count(1)
        self._opening = asyncio.Lock()
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._coming: set[Subscription] = set()
        self._asked: dict[str, Subscription] = {}
        self._open: dict[str, Subscription] = {}

    @property
    def idle(self) -> bool:
        """Whether nobody uses it."""
        return not self._open and not self._coming

    def has(self, task: str) -> bool:
        """Whether a subscription to this task is open here; another one needs a connection of its own."""
        return task in self._open or any(sub.task == task for sub in self._coming)

    @property
    def has_many(self) -> bool:
        """Whether a subscription to many tasks is open here."""
        return any(many(task) for task in [*self._open, *(sub.task for sub in self._coming)])

    async def subscribe(self, frame: dict[str, Any], *, task: str = "") -> Subscription:
        """Send a frame that opens a subscription, and wait until the edge took it.

        Args:
            frame: a `submit`, `ask` or `subscribe`, without its `ref`.
            task: the task's id, where it has one already; `ALL` for all of one's own, or a conversation's.

        Raises:
            NoStackError: nothing answers.
            EdgeError: the edge refused.
            ConnectionLostError: the connection broke before the edge answered to what may not be sent twice.
        """
        sub = Subscription(everything=many(task), resumed="cursor" in frame)
        sub.task = task
        self._coming.add(sub)
        try:
            await self._ask_whole(sub, frame)
            await sub.opened
        finally:
            self._coming.discard(sub)
        return sub

    async def leave(self, sub: Subscription) -> None:
        """Hear no more of it."""
        if self._open.get(sub.task) is sub:
            del self._open[sub.task]
            if self._connection is not None:
                with contextlib.suppress(ConnectionClosed):  # then nothing comes any more anyway
                    await _send(
                        self._connection, {"type": "unsubscribe", "ref": str(next(self._refs)), **_what(sub.task)}
                    )

    async def close(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> ClientConnection:
        async with self._opening:
            if self._connection is None:
                self._connection = await self._connect()
                self._reader = asyncio.create_task(self._read(), name="barnabas channel")
            return self._connection

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self._endpoint.websocket,
                additional_headers=self._endpoint.headers,
                compression=None,  # tokens are small; a compressor costs 35 KiB a connection
                max_size=MAX_FRAME,
                proxy=None if self._endpoint.here else True,
            )
        except InvalidStatus as error:
            raise refusal(
                error.response.status_code, error.response.headers, bytes(error.response.body or b"")
            ) from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise NoStackError(f"no stack answers at {self._endpoint.url}: start one with `barnabas up`") from error

    async def _ask_whole(self, sub: Subscription, frame: dict[str, Any]) -> None:
        """Send a frame; one that only subscribes, again if the connection turns out to be broken."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            try:
                return await self._ask(await self._connected(), sub, frame)
            except ConnectionLostError:
                if not sub.task or loop.time() > until:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)  # until the reader has made another one, or found that there is none

    async def _ask(self, connection: ClientConnection, sub: Subscription, frame: dict[str, Any]) -> None:
        ref = str(next(self._refs))
        self._asked[ref] = sub
        try:
            await _send(connection, {**frame, "ref": ref})
        except ConnectionClosed:
            self._asked.pop(ref, None)
            raise ConnectionLostError from None

    async def _read(self) -> None:
        """Hand frames on; when the connection breaks, make it anew for whoever still listens."""
        try:
            while (connection := self._connection) is not None:
                with contextlib.suppress(ConnectionClosed):
                    async for text in connection:
                        await self._route(msgspec.json.decode(text))
                self._connection = await self._again()
        except BarnabasError as error:
            await self._fail(error)
        except (msgspec.MsgspecError, LookupError) as error:
            await self._fail(ClientError(f"the edge at {self._endpoint.url} sent what can't be read: {error}"))

    async def _again(self) -> ClientConnection | None:
        """Return another connection, on which all are subscribed that can be; None where nobody listens any more."""
        await self._sort_out()
        if not self._open:
            return None
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        pause = AGAIN_SECONDS
        while True:
            try:
                connection = await self._connect()
                for task, sub in list(self._open.items()):
                    await self._ask(connection, sub, subscribe_frame(task, sub.cursor))
            except (NoStackError, ConnectionLostError):
                if loop.time() + pause > until:
                    raise
            else:
                return connection
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def _sort_out(self) -> None:
        """Leave in `_open` who can be subscribed again without loss or repetition, and fail the others."""
        unanswered, self._asked = self._asked, {}
        for sub in unanswered.values():
            if sub.opened.cancelled():
                continue
            if sub.task:  # no more than a subscription
                self._open[sub.task] = sub
            elif not sub.opened.done():  # whether the edge took it can't be known, so it isn't sent again
                await sub.fail(ConnectionLostError())

    async def _fail(self, error: BarnabasError) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        for sub in {*self._asked.values(), *self._open.values()}:
            await sub.fail(error)
        self._asked.clear()
        self._open.clear()

    async def _route(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "event":
                await self._tell(frame, msgspec.convert(frame, Event))
            case "tokens":
                await self._tell(frame, msgspec.convert(frame, Tokens))
            case "gap":
                await self._tell(frame, msgspec.convert(frame, Gap))
            case "accepted":
                self._opened(frame["ref"], msgspec.convert(frame["task"], Receipt), frame.get("cursor"))
            case "subscribed":
                self._opened(frame["ref"], None, frame.get("cursor"))
            case "error" if frame.get("resume"):
                return  # it read too slowly: the edge closes the connection, and on the next one all go on
            case "error":
                # About a frame, which has a ref, or about a subscription that can't go on.
                sub = self._asked.pop(frame.get("ref", ""), None) or self._open.get(frame.get("task", ""))
                if sub is not None:
                    self._open.pop(sub.task, None)
                    await sub.fail(EdgeError(msgspec.convert(frame, Problem)))
            case _:
                return  # an answer that needs nothing, or a frame of a newer edge

    async def _tell(self, said: dict[str, Any], frame: Event | Tokens | Gap) -> None:
        via = said.get("via")
        sub = self._open.get(ALL if via == "all" else via or said.get("task", ""))
        if sub is None:
            return  # it was left a moment ago
        await sub.frames.put(frame)
        sub.cursor = frame.cursor
        if not isinstance(frame, Event) or not frame.status.terminal or many(sub.task):
            return
        followed = self._open.pop(frame.task, None) is sub
        if followed and frame.next is not None:
            # The edge goes on with the next step of the chain by itself.
            sub.task, sub.cursor = frame.next, None
            self._open[frame.next] = sub

    def _opened(self, ref: str, receipt: Receipt | None, cursor: str | None) -> None:
        sub = self._asked.pop(ref, None)
        if sub is None or sub.opened.cancelled():
            return
        if receipt is not None:
            sub.receipt, sub.task = receipt, receipt.id
        self._open[sub.task] = sub
        sub.cursor = cursor
        if not sub.opened.done():
            sub.opened.set_result(None)


def subscribe_frame(task: str, cursor: str | None = None) -> dict[str, Any]:
    """Return the frame that subscribes to a task, a conversation or `ALL`, or to what of it comes after a cursor."""
    frame = {"type": "subscribe", **_what(task)}
    return frame if cursor is None else {**frame, "cursor": cursor}


def many(task: str) -> bool:
    """Whether it stands for many tasks."""
    return task == ALL or task.startswith(OF_CONVERSATION)


def _what(task: str) -> dict[str, Any]:
    if task.startswith(OF_CONVERSATION):
        return {"conversation": task.removeprefix(OF_CONVERSATION)}
    return {"all": True} if task == ALL else {"task": task}


async def _send(connection: ClientConnection, frame: dict[str, Any]) -> None:
    await connection.send(msgspec.json.encode(frame).decode())
