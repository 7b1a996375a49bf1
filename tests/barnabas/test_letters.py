"""Dead letters from the front door: commands and clients, on a real edge and tier."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from backbone.clock import now_ms
from backbone.ids import new_id
from backbone.intake import unreadable
from barnabas import EdgeError, SyncClient, TaskFailedError
from barnabas.exit_codes import ExitCode
from schemas.codec import CodecError
from schemas.errors import Problem
from schemas.records import Attempt, DeadLetter, Task
from schemas.tiers import Tier
from schemas.topics import DEAD_LETTERS
from tests.barnabas.tools import COMMAND, barnabas
from tests.support import produce, until

if TYPE_CHECKING:
    from barnabas.client import Client
    from barnabas.local.stack import LocalStack

LIMIT = 60.0


async def letter_of(house: LocalStack, client: Client, code: str, payload: str = '{"expression": "@daily"}') -> str:
    """Write a dead letter that can be done now, and return its id once it is known."""
    identity, now = new_id(), now_ms()
    task = Task(
        kind="cron.parse", id=identity, key=identity, tier=Tier.REALTIME, owner="local", tenant="local",
        payload=payload.encode(), created_at=now, start_by=now, deadline=now, root_id=identity,
    )  # fmt: skip
    history = [Attempt(attempt=1, at=now, code=code, message="so")]
    letter = DeadLetter(at=now, error=Problem(code, "so"), task=task, history=history)
    await produce(house.settings, DEAD_LETTERS, task.key, letter)
    await until(lambda: known(client, identity), limit=LIMIT)
    return identity


async def known(client: Client, identity: str) -> bool:
    try:
        await client.dead_letter(identity)
    except EdgeError as error:
        assert error.code == "letter.unknown"
        return False
    return True


async def ids(client: Client, **wanted: Any) -> list[str]:
    return [letter.id async for letter in client.dead_letters(**wanted)]


async def test_a_task_that_fails_for_good_is_a_letter_and_so_is_its_replay(house: LocalStack, client: Client) -> None:
    receipt = await client.submit("cron.parse", {"expression": "* * * * 99"})
    with pytest.raises(TaskFailedError):
        await client.result(receipt, timeout=LIMIT)
    await until(lambda: known(client, receipt.id), limit=LIMIT)
    done = await barnabas(house, "dead-letters", "show", receipt.id)
    assert done.code == ExitCode.OK, done.err
    shown = json.loads(done.out)
    assert shown["payload"] == {"expression": "* * * * 99"}
    assert [attempt["code"] for attempt in shown["history"]] == ["payload.invalid"]
    done = await barnabas(house, "dead-letters", "replay", receipt.id)
    assert done.code == ExitCode.OK, done.err
    again = done.out.strip()
    assert again != receipt.id
    with pytest.raises(TaskFailedError):
        await client.result(again, timeout=LIMIT)
    assert (await client.state(again)).replay_of == receipt.id
    await until(lambda: known(client, again), limit=LIMIT)
    assert (await client.dead_letter(again)).replay_of == receipt.id
    assert (await client.dead_letter(receipt.id)).replays == [again]


async def test_a_replay_that_can_be_done_now_succeeds(house: LocalStack, client: Client) -> None:
    letter = await letter_of(house, client, "test.mended")
    receipt = await client.replay(letter)
    assert (receipt.kind, receipt.tier, receipt.key) == ("cron.parse", Tier.REALTIME, letter)
    assert (await client.result(receipt, timeout=LIMIT)).value["expression"] == "@daily"


async def test_by_filter_what_somebody_else_replays_meanwhile_is_left_to_them(
    house: LocalStack, client: Client
) -> None:
    letter = await letter_of(house, client, "test.meanwhile")
    terminal, end = pty.openpty()
    environ = {**os.environ, "BARNABAS_HOME": str(house.home.path)}
    command = (*COMMAND, "dead-letters", "replay", "--code", "test.meanwhile")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=end, stdout=pipe, stderr=pipe, env=environ)
    os.close(end)
    assert b"Replay 1 dead letter?" in await process.stderr.readuntil(b"?")
    first = await client.replay(letter)
    os.write(terminal, b"y\n")
    out, err = await process.communicate()
    os.close(terminal)
    assert (process.returncode, out.strip()) == (ExitCode.FAILED, b""), err
    assert f"replayed before, as {first.id}" in " ".join(err.decode().split())
    assert (await client.dead_letter(letter)).replays == [first.id]


async def test_lists_are_by_filter_and_status(house: LocalStack, client: Client) -> None:
    first, second, third = [await letter_of(house, client, "test.listed") for _ in range(3)]
    await client.replay(first)
    await client.drop(second)

    async def listed(*arguments: str) -> list[str]:
        done = await barnabas(house, "dead-letters", "list", "--code", "test.listed", *arguments)
        assert done.code == ExitCode.OK, done.err
        return [json.loads(line)["id"] for line in done.out.splitlines()]

    assert await listed() == [third]
    assert await listed("--status", "replayed") == [first]
    assert await listed("--status", "dropped", "--json") == [second]
    assert await listed("--status", "all", "--since", "1h", "--kind", "cron.parse") == [third, second, first]
    assert await listed("--status", "all", "--before", "1h") == []
    assert await listed("--kind", "mail.classify") == []
    assert await listed("--status", "all", "--limit", "2") == [third, second]
    done = await barnabas(house, "dead-letters", "list", "--code", "test.listed", "--status", "all", "--limit", "2")
    assert "--limit 0" in done.err


async def test_a_terminal_gets_a_table(house: LocalStack, client: Client) -> None:
    letter = await letter_of(house, client, "test.table")
    await client.replay(letter)
    terminal, end = pty.openpty()
    environ = {**os.environ, "BARNABAS_HOME": str(house.home.path), "COLUMNS": "200", "TERM": "xterm", "NO_COLOR": "1"}
    command = (*COMMAND, "dead-letters", "list", "--code", "test.table", "--status", "all")
    process = await asyncio.create_subprocess_exec(*command, stdout=end, env=environ)
    os.close(end)
    shown = b""
    with suppress(OSError):  # so Linux tells that nobody holds the other end
        while data := await asyncio.to_thread(os.read, terminal, 65536):
            shown += data
    os.close(terminal)
    assert await process.wait() == ExitCode.OK
    heading, row = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert heading.split()[:4] == ["dead", "since", "id", "kind"]
    assert [letter, "cron.parse", "realtime", "1", "test.table", "so", "replayed"] == row.split()[2:]


async def test_by_filter_the_waiting_ones_are_replayed_the_oldest_first(house: LocalStack, client: Client) -> None:
    letters = [await letter_of(house, client, "test.many") for _ in range(3)]
    odd = await letter_of(house, client, "test.many", '{"expression": 5}')
    done = await barnabas(house, "dead-letters", "replay", "--code", "test.many", "--yes", "--json")
    assert done.code == ExitCode.FAILED  # one of them refused
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [one["letter"] for one in told] == letters
    assert json.loads(done.err)["error"]["field"] == "payload.expression"
    for one in told:
        await client.result(one["task"], timeout=LIMIT)
    assert await ids(client, code="test.many", status="waiting") == [odd]
    done = await barnabas(house, "dead-letters", "drop", "--code", "test.many", "--yes")
    assert done.code == ExitCode.OK, done.err
    assert await ids(client, code="test.many", status="waiting") == []
    assert await ids(client, code="test.many", status="dropped") == [odd]
    done = await barnabas(house, "dead-letters", "replay", "--code", "test.many", "--yes")
    assert (done.code, done.out) == (ExitCode.OK, "")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("replay",), "letters"),
        (("drop",), "letters"),
        (("replay", "x", "--kind", "a"), "letters"),
        (("replay", "--kind", "a"), "yes"),
        (("drop", "--since", "soon", "--yes"), "since"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_touches_nothing(
    house: LocalStack, arguments: tuple[str, ...], field: str
) -> None:
    done = await barnabas(house, "dead-letters", *arguments, "--json")
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert json.loads(done.err)["error"]["field"] == field


async def test_a_pipe_is_not_asked(house: LocalStack) -> None:
    done = await barnabas(house, "dead-letters", "drop", "--kind", "cron.parse")
    assert done.code == ExitCode.USAGE
    assert "--yes" in done.err


@pytest.mark.parametrize(("answer", "code"), [("n", ExitCode.FAILED), ("y", ExitCode.OK)])
async def test_a_terminal_is_told_how_many_and_asked(
    house: LocalStack, client: Client, answer: str, code: ExitCode
) -> None:
    letters = [await letter_of(house, client, f"test.asked.{answer}") for _ in range(2)]
    terminal, end = pty.openpty()
    environ = {**os.environ, "BARNABAS_HOME": str(house.home.path)}
    command = (*COMMAND, "dead-letters", "drop", "--code", f"test.asked.{answer}")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=end, stdout=pipe, stderr=pipe, env=environ)
    os.close(end)
    os.write(terminal, f"{answer}\n".encode())
    out, err = await process.communicate()
    os.close(terminal)
    assert process.returncode == code, err
    assert b"Drop 2 dead letters?" in err + out
    assert set(await ids(client, status="dropped", code=f"test.asked.{answer}")) == (
        set(letters) if answer == "y" else set()
    )


async def test_one_that_is_refused_is_exit_code_1(house: LocalStack, client: Client) -> None:
    letter = await letter_of(house, client, "test.twice")
    assert (await barnabas(house, "dead-letters", "drop", letter)).code == ExitCode.OK
    done = await barnabas(house, "dead-letters", "replay", letter, "--json")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert json.loads(done.err)["error"]["code"] == "letter.dropped"
    assert (await barnabas(house, "dead-letters", "show", "no-such")).code == ExitCode.FAILED


async def test_bytes_that_are_no_task_are_shown_and_left_out_of_a_replay(house: LocalStack, client: Client) -> None:
    code = "test.bytes"
    problem = CodecError("no task")
    problem.code = code
    out = unreadable("barnabas.tasks.low", 0, now_ms(), b"\xff", problem, now_ms())
    await produce(house.settings, DEAD_LETTERS, out.key, out.record)
    await until(lambda: known(client, out.key), limit=LIMIT)
    assert (await client.dead_letter(out.key)).raw_base64 == "/w=="
    done = await barnabas(house, "dead-letters", "replay", "--code", code, "--yes")
    assert (done.code, done.out) == (ExitCode.OK, ""), done.err
    assert await ids(client, code=code) == [out.key]


async def test_without_await(house: LocalStack, client: Client) -> None:
    letters = [await letter_of(house, client, "test.sync") for _ in range(2)]

    def work() -> None:
        with SyncClient(house.edge_url, house.home.api_key.read_text().strip()) as sync:
            assert [letter.id for letter in sync.dead_letters(code="test.sync")] == letters[::-1]
            assert sync.dead_letter(letters[0]).payload == {"expression": "@daily"}
            assert sync.result(sync.replay(letters[0]), timeout=LIMIT).kind == "cron.parse"
            sync.drop(letters[1])
            assert {letter.status for letter in sync.dead_letters(code="test.sync")} == {"replayed", "dropped"}

    await asyncio.to_thread(work)


def test_the_page_compiles() -> None:
    from tests.barnabas.test_docs import ROOT, blocks

    [source] = blocks((ROOT / "docs/dead-letters.md").read_text(), "python")
    compile(source, "dead-letters.md", "exec")
