"""The supervisor with real processes: small services that are killed, slow, stubborn or broken."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from barnabas.errors import ServiceFailedError
from barnabas.local.child import Child, end_leftovers
from barnabas.local.display import Row, Silent, State
from barnabas.local.health import HttpProbe
from barnabas.local.lifecycle import Patience, Restart
from barnabas.local.log import Log
from barnabas.local.ports import _free_ports
from barnabas.local.processes import Process
from barnabas.local.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.slow

SERVICE = Path(__file__).with_name("small_service.py")
LIMIT = 20.0


class Seen(Silent):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def show(self, row: Row) -> None:
        self.rows.append(row)


async def until(true: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(LIMIT):
        while not true():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class Yard:
    """Makes small services in one folder, under one supervisor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.journal.touch()
        self.seen = Seen()
        self.supervisor = Supervisor(folder, self.seen, jitter=lambda: 1.0)
        self.ports = _free_ports()

    def service(self, name: str, *arguments: str, **fields: Any) -> Process:
        port = next(self.ports)
        fields = {
            "drain_order": 0,
            "drain_timeout": LIMIT,
            "start_timeout": LIMIT,
            "restart": Restart(first=0.02, tries=3),
            **fields,
        }
        return Process(
            name=name,
            command=(sys.executable, str(SERVICE), str(port), str(self.journal), *arguments),
            probe=HttpProbe("127.0.0.1", port),
            **fields,
        )

    def events(self, event: str) -> list[int]:
        """Return the pids that noted an event, in order of time."""
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [int(pid) for what, pid, _at in sorted(lines, key=lambda line: int(line[2])) if what == event]

    def pid(self, name: str) -> int:
        return self.supervisor.children()[name][0]

    def states(self, name: str) -> list[State]:
        return [row.state for row in self.seen.rows if row.name == name]


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.supervisor.kill()
    await yard.supervisor.drain()


async def test_start_returns_once_all_are_ready_and_says_what_a_slow_one_said(yard: Yard) -> None:
    await yard.supervisor.start([yard.service("quick"), yard.service("slow", "--slow", "0.5")])
    assert yard.supervisor.ready_times().keys() == {"quick", "slow"}
    assert any(row.name == "slow" and row.detail.startswith("warming up") for row in yard.seen.rows)
    assert yard.seen.rows[-1].state is State.READY


async def test_a_slow_starter_is_not_waited_for_until_all_is_complete(yard: Yard) -> None:
    await yard.supervisor.start([yard.service("quick"), yard.service("model", "--slow", "1.5", slow=True)])
    assert "model" not in yard.supervisor.ready_times()
    await yard.supervisor.complete()
    assert "model" in yard.supervisor.ready_times()


async def test_what_dies_is_started_again_and_nothing_else(yard: Yard) -> None:
    await yard.supervisor.start([yard.service("victim"), yard.service("other")])
    first, other = yard.pid("victim"), yard.pid("other")
    os.kill(first, signal.SIGKILL)
    await until(lambda: yard.states("victim").count(State.READY) == 2)
    assert yard.pid("victim") != first
    assert yard.pid("other") == other
    assert "ended by SIGKILL; again in" in next(row.detail for row in yard.seen.rows if row.state is State.RESTARTING)


async def test_what_is_alive_but_stuck_is_killed_and_started_again_and_that_is_told(yard: Yard) -> None:
    patience = Patience(every=0.05, silences=2)
    await yard.supervisor.start([yard.service("stuck", patience=patience), yard.service("other", patience=patience)])
    first, other = yard.pid("stuck"), yard.pid("other")
    os.kill(first, signal.SIGSTOP)
    await until(lambda: yard.states("stuck").count(State.READY) == 2)
    assert not alive(first)
    assert yard.pid("other") == other
    told = next(row.detail for row in yard.seen.rows if row.state is State.RESTARTING)
    assert told.startswith("gave no sign of life 2 times, 0.05 s apart, and was killed; again in")
    assert "stuck gave no sign of life 2 times" in (yard.folder / "stuck.log").read_text()


async def test_what_closes_its_port_to_drain_is_not_stuck(yard: Yard) -> None:
    draining = asyncio.Event()

    class Closing(HttpProbe):
        async def alive(self) -> bool:
            return not draining.is_set()

    service = yard.service("stubborn", "--stubborn", drain_timeout=1.0, patience=Patience(every=0.02, silences=1))
    await yard.supervisor.start([replace(service, probe=Closing("127.0.0.1", int(service.command[2])))])
    draining.set()
    async with asyncio.timeout(LIMIT):
        await yard.supervisor.drain()
    assert not any("sign of life" in row.detail for row in yard.seen.rows)
    assert any("did not end in" in row.detail for row in yard.seen.rows)


async def test_a_slow_starter_that_can_not_start_is_tried_again_and_its_last_words_are_shown(yard: Yard) -> None:
    room = yard.folder / "room"
    service = yard.service("model", "--needs", str(room), slow=True, retry=Restart(first=0.1))
    await yard.supervisor.start([service])
    with pytest.raises(ServiceFailedError, match="model could not start: it ended with status 1, 3 times in a row"):
        await yard.supervisor.complete()
    await until(lambda: yard.states("model").count(State.FAILED) == 2)
    shown = next(row.detail for row in yard.seen.rows if row.state is State.FAILED)
    assert shown == "ended with status 1; again in 0.1 s: no space left"
    room.touch()
    await until(lambda: State.READY in yard.states("model"))
    os.kill(yard.pid("model"), signal.SIGKILL)
    await until(lambda: yard.states("model").count(State.READY) == 2)
    assert State.FAILED not in yard.states("model")[yard.states("model").index(State.READY) :]


async def test_what_can_not_start_is_an_error_with_the_end_of_its_log(yard: Yard) -> None:
    with pytest.raises(ServiceFailedError) as caught:
        await yard.supervisor.start([yard.service("broken", "--exit", "3")])
    assert "broken could not start: it ended with status 3, 3 times in a row" in caught.value.message
    assert caught.value.message.endswith("the reason why nothing works\n" * 2 + "the reason why nothing works")


async def test_a_program_that_is_not_there_is_an_error_too(yard: Yard) -> None:
    missing = Process(
        name="missing",
        command=("no-such-program",),
        probe=HttpProbe("127.0.0.1", 1),
        drain_order=0,
        drain_timeout=1,
        start_timeout=LIMIT,
        restart=Restart(first=0.01),
    )
    with pytest.raises(ServiceFailedError, match="no-such-program"):
        await yard.supervisor.start([missing])


async def test_what_is_never_ready_is_an_error_and_is_not_left_behind(yard: Yard) -> None:
    with pytest.raises(ServiceFailedError, match="was not ready in 1 s"):
        await yard.supervisor.start([yard.service("stuck", "--slow", "600", start_timeout=1)])
    assert yard.supervisor.children() == {}
    assert not any(alive(pid) for pid in yard.events("started"))


async def test_draining_stops_one_order_after_the_other(yard: Yard) -> None:
    await yard.supervisor.start(
        [
            yard.service("server", drain_order=2),
            yard.service("edge", drain_order=0),
            yard.service("tier", drain_order=1),
        ]
    )
    pids = {name: yard.pid(name) for name in ("edge", "tier", "server")}
    await yard.supervisor.drain()
    assert yard.events("stopped") == [pids["edge"], pids["tier"], pids["server"]]
    assert not any(alive(pid) for pid in pids.values())


async def test_what_ignores_the_request_is_killed_with_all_it_started(yard: Yard, tmp_path: Path) -> None:
    pidfile = tmp_path / "grandchild"
    await yard.supervisor.start([yard.service("stubborn", "--stubborn", "--child", str(pidfile), drain_timeout=0.5)])
    pid, grandchild = yard.pid("stubborn"), int(pidfile.read_text())
    await yard.supervisor.drain()
    assert yard.events("asked") == [pid]
    assert not alive(pid)
    await until(lambda: not alive(grandchild))
    assert any("did not end in" in row.detail for row in yard.seen.rows)


async def test_kill_ends_all_at_once_even_what_is_draining(yard: Yard) -> None:
    await yard.supervisor.start([yard.service("stubborn", "--stubborn", drain_timeout=600), yard.service("other")])
    pids = [yard.pid("stubborn"), yard.pid("other")]
    draining = asyncio.create_task(yard.supervisor.drain())
    await until(lambda: pids[0] in yard.events("asked"))
    yard.supervisor.kill()
    async with asyncio.timeout(LIMIT):
        await draining
    assert not any(alive(pid) for pid in pids)


async def test_draining_while_something_starts_leaves_nothing(yard: Yard) -> None:
    starting = asyncio.create_task(yard.supervisor.start([yard.service("slow", "--slow", "600")]))
    await until(lambda: yard.events("started"))
    async with asyncio.timeout(LIMIT):
        await yard.supervisor.drain()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not any(alive(pid) for pid in yard.events("started"))
    assert yard.states("slow")[-2:] == [State.STOPPING, State.STOPPED]


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_supervisor import Yard

async def main():
    yard = Yard(Path({home!r}))
    await yard.supervisor.start([yard.service("child", "--child", {grandchild!r})])
    print(*yard.supervisor.children()["child"], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = KILLED.format(folder=str(SERVICE.parent), home=str(tmp_path), grandchild=str(tmp_path / "grandchild"))
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert supervisor.stdout
    number, started_at = (await supervisor.stdout.readline()).split()
    child = int(number)
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not alive(child))
    # What a child had started has no leash; the next start ends it.
    grandchild = int((tmp_path / "grandchild").read_text())
    assert alive(grandchild)
    assert await asyncio.to_thread(end_leftovers, [(child, float(started_at))]) == 1
    assert not alive(grandchild)


async def test_what_a_dead_supervisor_left_is_ended_and_nobody_else(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    left = await Child.start(command, {}, Log(tmp_path / "log"))
    other = await Child.start(command, {}, Log(tmp_path / "log"))
    ended = await asyncio.to_thread(
        end_leftovers, [(left.pid, left.started_at), (other.pid, other.started_at - 3600), (2**22 - 1, time.time())]
    )
    assert ended == 1
    assert await left.wait() == -signal.SIGKILL
    assert alive(other.pid)
    other.kill()
    await other.wait()
