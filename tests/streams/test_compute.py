"""CPU-bound work in processes: what hurts is killed at its time, and all else goes on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import psutil
import pytest
from obstore.store import MemoryStore
from pydantic import BaseModel

from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.ids import new_id
from backbone.outcomes import OutcomeStore
from backbone.rate import RateLimiter
from backbone.redis import connect
from backbone.settings import Settings
from backbone.stamp import stamp
from schemas.records import Attempt, Status, Task, Timer
from schemas.tiers import Tier
from streams.compute import TASKS, ComputePool, Share
from streams.dispatch import Dispatcher
from streams.errors import HandlerDiedError, HandlerMemoryError, PayloadError, ResultTooLargeError
from streams.failures import problem_of
from streams.handlers.port import Handler
from streams.web.work import Mode, Source, Wanted, read
from tests.streams import bombs
from tests.support import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def workers() -> list[psutil.Process]:
    """The processes of pools; the standard library's tracker of semaphores stays until this one ends."""
    alive = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any("spawn_main" in part for part in child.cmdline()):
                alive.append(child)
        except psutil.NoSuchProcess:
            continue
    return alive


@pytest.fixture
async def pool():
    made = ComputePool(1, 512)
    yield made
    await made.close()


@pytest.fixture
def share(pool):
    return Share(pool)


async def busy(pid: int) -> None:
    """Wait until a process has worked for a while."""
    process = psutil.Process(pid)
    before = process.cpu_times().user

    async def worked() -> bool:
        return process.cpu_times().user > before + 0.2

    await until(worked)


async def test_nothing_runs_before_it_is_needed_and_nothing_after_the_end():
    before = {process.pid for process in workers()}
    pool = ComputePool(2, 512)
    assert {process.pid for process in workers()} == before
    assert await asyncio.gather(*(Share(pool)(bombs.double, n) for n in range(8))) == list(range(0, 16, 2))
    assert len({process.pid for process in workers()} - before) == 2
    await pool.close()
    assert {process.pid for process in workers()} == before
    await pool.close()


async def test_one_worker_serves_one_call_after_another(share):
    assert len({await share(os.getpid) for _ in range(20)}) == 1


async def test_a_worker_is_replaced_after_its_calls(share):
    assert len({await share(os.getpid) for _ in range(TASKS + 1)}) == 2


async def test_a_worker_imports_only_what_it_runs(share):
    assert await share(bombs.nothing_heavy) == set()


@pytest.mark.parametrize("bomb", [bombs.spin, bombs.backtrack, bombs.shut_up])
async def test_cancelling_kills_and_the_next_call_is_served(pool, share, bomb):
    pid = await share(os.getpid)
    running = asyncio.create_task(share(bomb))
    await busy(pid)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert share.killed
    next_pid = await Share(pool)(os.getpid)
    assert next_pid != pid

    async def gone() -> bool:
        return not psutil.pid_exists(pid)

    await until(gone)


async def test_who_only_waited_for_a_worker_kills_none(pool, share):
    pid = await share(os.getpid)
    running = asyncio.create_task(share(bombs.spin))
    await busy(pid)
    waiting = Share(pool)
    second = asyncio.create_task(waiting(bombs.double, 1))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert not waiting.killed
    assert psutil.pid_exists(pid)
    running.cancel()
    await asyncio.wait([running])
    assert await waiting(bombs.double, 1) == 2


@pytest.mark.parametrize(
    ("bomb", "error", "says"),
    [
        (bombs.hoard, HandlerMemoryError, "512 MiB"),
        (bombs.die, HandlerDiedError, "status -9"),
        (bombs.big, ResultTooLargeError, "bytes"),
        (bombs.missing, KeyError, "here"),
        (bombs.leave, RuntimeError, "SystemExit: 3"),
        (bombs.stubborn, RuntimeError, "StubbornError: a"),
    ],
)
async def test_each_end_has_its_error_and_the_next_call_is_served(share, bomb, error, says):
    with pytest.raises(error, match=says):
        await share(bomb)
    assert await share(bombs.double, 21) == 42


async def test_an_error_of_ours_comes_whole_and_tells_where_it_was_raised(share):
    picks = {"odd": Wanted(None, "no-such-function(//p)")}
    with pytest.raises(PayloadError) as caught:
        await share(read, Source("<p>x", "text/html", None, "http://example.com/"), Mode.SELECTORS, picks)
    assert caught.value.field == "selectors.odd"
    assert "selectors.py" in caught.value.__notes__[0]


async def test_a_worker_that_dies_with_nothing_to_do_is_replaced(share):
    pid = await share(os.getpid)
    psutil.Process(pid).kill()

    async def replaced() -> bool:
        try:
            return await share(os.getpid) != pid
        except HandlerDiedError:  # it was handed over before its death was seen
            return False

    await until(replaced)


async def test_a_process_that_dies_twice_is_the_payload_s_doing():
    error = HandlerDiedError()
    once = [Attempt(attempt=1, at=1, code="net.failed", message="x")]
    twice = [*once, Attempt(attempt=2, at=2, code=error.code, message="x")]
    assert problem_of(error, once).retryable
    assert not problem_of(error, twice).retryable


PROGRAM = """
import asyncio, os, sys
from streams.compute import ComputePool, Share
from tests.streams import bombs
async def main():
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    share = Share(ComputePool(1, 512))
    print(await share(os.getpid), await share(os.sched_getscheduler, 0) == os.SCHED_BATCH, flush=True)
    await share(bombs.spin)
if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_a_worker_has_its_parent_s_class_and_dies_with_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, program, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        pid, inherited = (await parent.stdout.readline()).decode().split()
        worker = psutil.Process(int(pid))
        await busy(worker.pid)
    finally:
        parent.kill()
        await parent.communicate()
    assert inherited == "True"

    async def gone() -> bool:
        return not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE

    await until(gone)


# Whole tasks, by the dispatcher.


class Load(BaseModel):
    do: str = "double"


class Done(BaseModel):
    said: str


class Computer(Handler[Load, Done]):
    """Computes what its payload says."""

    kind = "test.compute"
    tier = Tier.REALTIME
    payload = Load
    result = Done

    async def run(self, payload, context):
        match payload.do:
            case "nothing":
                return Done(said="at once")
            case "double":
                return Done(said=str(await context.compute(bombs.double, 21)))
            case "nested":
                picks = {"i": Wanted(None, bombs.NESTED)}
                source = Source(bombs.ITALICS, "text/html", None, "")
                return Done(said=str(await context.compute(read, source, Mode.SELECTORS, picks)))
        return Done(said=str(await context.compute(getattr(bombs, payload.do))))


@pytest.fixture
async def run(settings, pool):
    """Returns what follows from a task that does this, within so many seconds."""
    redis = connect(settings)

    async def say(record):
        """Nobody listens."""

    async def run(do, seconds=30.0, **fields):
        mine = Settings(handler_timeout=seconds)
        dispatcher = Dispatcher(
            settings=mine,
            policy=mine.tiers.realtime,
            handlers={Computer.kind: Computer(mine)},
            store=OutcomeStore(redis, mine),
            limiter=RateLimiter(redis, mine),
            compute=pool,
            blobs=Blobs(MemoryStore(), most=mine.max_upload_bytes),
            say=say,
            worker="w",
            now=now_ms,
            jitter=lambda: 0.5,
        )
        bare = Task(kind=Computer.kind, payload=json.dumps({"do": do}).encode(), **fields)
        task = stamp(bare, task_id=new_id(), tier=Tier.REALTIME, policy=mine.tiers.realtime, now=now_ms())
        return [out.record for out in await dispatcher.run(task)]

    yield run
    await redis.aclose()


@pytest.mark.parametrize("bomb", ["nested", "backtrack", "spin"])
async def test_a_bomb_is_killed_at_its_time_is_not_tried_again_and_holds_up_nobody(run, share, bomb):
    pid = await share(os.getpid)
    exploding = asyncio.create_task(run(bomb, seconds=3))
    await busy(pid)
    ticks = 0
    while not exploding.done():
        (end,) = await run("nothing")
        assert end.status is Status.SUCCEEDED
        ticks += 1
    assert ticks > 50
    letter, end = await exploding
    assert (end.status, end.error.code, end.error.retryable) == (Status.FAILED, "handler.cpu", False)
    assert letter.task.kind == Computer.kind
    (end,) = await run("double")
    assert json.loads(end.result) == {"said": "42"}
    assert not psutil.pid_exists(pid)


async def test_who_waited_for_a_worker_that_a_bomb_held_is_tried_again(run, share):
    pid = await share(os.getpid)
    exploding = asyncio.create_task(run("spin", seconds=3))
    await busy(pid)
    timer, event = await run("double", seconds=0.05)
    assert isinstance(timer, Timer)
    assert (event.status, event.error.code) == (Status.RETRYING, "handler.timeout")
    await exploding


async def test_a_task_that_wants_too_much_memory_fails_for_good_and_one_whose_process_dies_is_tried_again(run):
    _, end = await run("hoard")
    assert (end.status, end.error.code) == (Status.FAILED, "handler.memory")
    timer, event = await run("die")
    assert (event.status, event.error.code) == (Status.RETRYING, "handler.died")
    again = timer.template.task
    _, end = await run("die", attempt=again.attempt, history=again.history)
    assert (end.status, end.error.code) == (Status.FAILED, "handler.died")
