"""What the tests of the front door share: programs run as a person would, and a connection that can be cut."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer.main

from barnabas.cli import app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.local.stack import LocalStack


COMMAND = (sys.executable, "-c", "from barnabas.cli import main; main()")


def options() -> dict[str, set[str]]:
    """Return the options of each command by what is typed for it, such as `dead-letters list`."""
    found: dict[str, set[str]] = {}

    def walk(group: Any, before: str) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, f"{before}{name} ")
            else:
                shown = [param for param in command.params if not getattr(param, "hidden", False)]
                found[before + name] = {option for param in shown for option in param.opts}

    walk(typer.main.get_command(app), "")
    return found


def command_of(typed: str) -> str:
    """Return which command is typed after `barnabas`."""
    first, _, rest = typed.partition(" ")
    longer = f"{first} {rest.partition(' ')[0]}"
    return longer if longer in options() else first


@dataclass
class Done:
    """How a program ended."""

    code: int | None
    out: str
    err: str


async def program(house: LocalStack, *arguments: str, stdin: str = "") -> Done:
    """Run a program as a person would who has a stack in a home."""
    process = await _start(house, *arguments)
    out, err = await process.communicate(stdin.encode())
    return Done(process.returncode, out.decode(), err.decode())


async def barnabas(house: LocalStack, *arguments: str, stdin: str = "") -> Done:
    """Run a command."""
    return await program(house, *COMMAND, *arguments, stdin=stdin)


@asynccontextmanager
async def started(house: LocalStack, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command beside the block."""
    process = await _start(house, *COMMAND, *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _start(house: LocalStack, *arguments: str) -> asyncio.subprocess.Process:
    environ = {**os.environ, "BARNABAS_HOME": str(house.home.path)}
    for name in ("BARNABAS_URL", "BARNABAS_API_KEY", "BARNABAS_API_KEY_FILE"):
        environ.pop(name, None)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=environ)


class Cable:
    """A TCP connection to the edge that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.made = 0
        self.url = ""

    @asynccontextmanager
    async def plugged(self, port: int = 0) -> AsyncIterator[Cable]:
        """Listen, by default on any free port, and pass on all that comes."""
        server = await asyncio.start_server(self._pass, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await server.wait_closed()

    def cut(self) -> None:
        """Cut what is connected; a new connection can be made."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        self._writers.append(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        if writer.is_closing():  # it was cut meanwhile
            far_writer.close()
            return
        self._writers.append(far_writer)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()
