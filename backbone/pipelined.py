"""Commands of many tasks to Redis in few round trips: what is asked for while one is under way goes together in the next.

A process that runs sixteen tasks side by side asks for as many things at once. Each alone costs a write, a read and
most of what redis-py does for a command; together they cost that once. Nothing waits where nothing is under way.
"""

from __future__ import annotations

import asyncio
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from redis.asyncio import Redis

MOST = 256
"""Commands that go together; more would keep the first ones waiting for the last ones' answers."""

_Waiting = tuple[tuple[Any, ...], dict[str, Any], asyncio.Future[Any]]


class Script:
    """A script in Lua that Redis runs as one step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Pipelined:
    """Sends commands. It has a connection of the client's pool while something is under way."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def call(self, *command: Any, **options: Any) -> Any:
        """Return the answer to a command.

        Args:
            command: its name and arguments, as Redis has them.
            options: how redis-py is to read the answer.

        Raises:
            redis.exceptions.RedisError: Redis refused it, or did not answer.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((command, options, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="redis-pipelined")
        return await answer

    async def run(self, script: Script, keys: list[str], arguments: list[Any]) -> Any:
        """Return the answer of a script.

        Raises:
            redis.exceptions.RedisError: it failed, or Redis did not answer.
        """
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:  # a server that was started since
            return await self.call("EVAL", script.text, len(keys), *keys, *arguments)

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._send(batch)
        finally:
            self._sending = None

    async def _send(self, batch: list[_Waiting]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for command, options, _ in batch:
                    pipe.execute_command(*command, **options)
                answers = await pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - whoever waits for an answer is told why there is none
            answers = [error] * len(batch)
        for (_, _, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue  # its task was cancelled meanwhile
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
