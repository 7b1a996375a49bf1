"""What our four changes to Faust remove, shown on stock Faust: as soon as Faust mends one, its test says to delete it.

Each is tested three ways: stock Faust still has the fault, ours has not (so the change still takes hold), and, at the
end, workers that join, stop and die while thousands of tasks run.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import faust
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from backbone.kafka import aiokafka_config, name_of
from benchmarks.dispatch.churn import Change, Pace, effects
from benchmarks.dispatch.ours import Barnabas
from schemas.tiers import Tier
from schemas.topics import TASKS
from streams.faust_consumer import COMMIT_SECONDS, FETCH_MS, App, StepWithoutTasks
from tests.support import apart, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from backbone.settings import Settings

MESSAGES = 60


@pytest.fixture(scope="module")
async def settings(stack) -> Settings:
    return await apart(stack.settings, "faust-tests")


@asynccontextmanager
async def running(kind: type[faust.App], settings: Settings, name: str) -> AsyncIterator[faust.App]:
    """An app of this kind as `streams.app` sets it up, which does nothing with its messages and commits only when told."""
    app = kind(
        name,
        broker=[f"kafka://{settings.kafka_bootstrap}"],
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=3600,
        topic_allow_declare=False,
        topic_disable_leader=True,
        datadir=settings.home / name,
        web_enabled=False,
    )
    topic = app.topic(name_of(settings, TASKS[Tier.LOW]), value_type=bytes)
    assigned = asyncio.Event()

    async def consume(stream: faust.StreamT) -> None:
        async for _ in stream.events():
            pass

    async def on_assigned(*_args, **_kwargs) -> None:
        assigned.set()

    app.agent(topic, concurrency=1, isolated_partitions=True)(consume)
    app.on_partitions_assigned.connect(on_assigned)
    await app.start()
    try:
        async with asyncio.timeout(60):
            await assigned.wait()
        yield app
    finally:
        await app.stop()


async def fill(settings: Settings) -> None:
    async with AIOKafkaProducer(**aiokafka_config(settings)) as producer:
        topic = name_of(settings, TASKS[Tier.LOW])
        sent = [await producer.send(topic, b"x", partition=n % settings.partitions) for n in range(MESSAGES)]
        await asyncio.gather(*sent)


def acknowledged(app: faust.App) -> Callable[[], Awaitable[bool]]:
    async def all_of_them() -> bool:
        return sum(map(len, app.consumer._acked.values())) == MESSAGES

    return all_of_them


async def committed(settings: Settings, group: str) -> int:
    """How many messages the group need not read again."""
    admin = AIOKafkaAdminClient(**aiokafka_config(settings))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return sum(max(0, meta.offset) for meta in offsets.values())


@pytest.fixture(scope="module")
async def filled(settings: Settings) -> Settings:
    await fill(settings)
    return settings


async def revoke(kind: type[faust.App], settings: Settings, group: str) -> int:
    """Do all messages, then revoke the partitions as a rebalance does; return how many are committed then."""
    async with running(kind, settings, group) as app:
        await until(acknowledged(app), 60)
        assert await committed(settings, group) == 0
        await app.consumer.on_partitions_revoked(set(app.consumer.assignment()))
        return await committed(settings, group)


async def test_stock_faust_forgets_at_a_revocation_what_it_did_since_the_last_commit(filled):
    assert await revoke(faust.App, filled, "stock-revoked") == 0, "Faust mends this now: delete FinishBeforeRevocation"


async def test_ours_commits_at_a_revocation_all_that_is_done(filled):
    assert await revoke(App, filled, "ours-revoked") == MESSAGES


async def tasks_made(kind: type[faust.App], settings: Settings, group: str) -> int:
    """Return how many asyncio tasks handing the messages to the streams takes beside those that Faust makes anyhow."""
    loop = asyncio.get_running_loop()
    made = 0

    def count(loop: asyncio.AbstractEventLoop, coro, **more) -> asyncio.Task:
        nonlocal made
        made += coro.__name__ in {"on_message", "_resumed"} or "Event.wait" in coro.__qualname__
        return asyncio.Task(coro, loop=loop, **more)

    loop.set_task_factory(count)
    try:
        async with running(kind, settings, group) as app:
            await until(acknowledged(app), 60)
    finally:
        loop.set_task_factory(None)
    return made


async def test_stock_faust_makes_tasks_for_each_message(filled):
    made = await tasks_made(faust.App, filled, "stock-tasks")
    assert made >= 4 * MESSAGES, "Faust mends this now: delete StepWithoutTasks"


async def test_ours_makes_none_for_them(filled):
    assert await tasks_made(App, filled, "ours-tasks") < MESSAGES


async def commits_in_time(kind: type[faust.App], settings: Settings, group: str) -> bool:
    """Whether a commit ends, however, after the group's coordinator was closed and is known no more."""
    async with running(kind, settings, group) as app:
        await until(acknowledged(app), 60)
        thread = app.consumer._thread
        coordinator = thread._consumer._coordinator

        async def close() -> None:
            coordinator._closing.set_result(None)  # as it is where a rebalance meets a stop
            coordinator.coordinator_id = None

        async def open_again() -> None:
            coordinator._closing = asyncio.get_running_loop().create_future()

        async def there(what: Awaitable[None]) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(what, thread.thread_loop))

        await there(close())
        commit = asyncio.create_task(app.consumer.commit())
        ended, _ = await asyncio.wait({commit}, timeout=COMMIT_SECONDS * 3)
        await there(open_again())  # or the app could never be stopped
        await commit
        return bool(ended)


async def test_stock_faust_commits_for_ever_once_its_coordinator_is_closed(filled):
    assert not await commits_in_time(faust.App, filled, "stock-closed"), "Faust mends this now: delete CommitInTime"


async def test_ours_gives_such_a_commit_up(filled):
    assert await commits_in_time(App, filled, "ours-closed")


async def fetch_wait(kind: type[faust.App], settings: Settings, group: str) -> int:
    """How long (ms) the broker may keep a fetch, during which it is asked for no other partition."""
    async with running(kind, settings, group) as app:
        return app.consumer._thread._consumer._fetcher._fetch_max_wait_ms


async def test_stock_faust_has_its_fetches_kept_for_long(settings):
    assert await fetch_wait(faust.App, settings, "stock-fetch") > FETCH_MS, "Faust mends this now: delete FetchInTime"


async def test_ours_are_kept_for_less(settings):
    assert await fetch_wait(App, settings, "ours-fetch") == FETCH_MS


class Waiter:
    """Stands for Faust's own `wait_first`: cancels what was not first."""

    async def wait_first(self, *coros, timeout=None):  # noqa: ASYNC109 - as Faust has it
        tasks = [asyncio.ensure_future(coro) for coro in coros]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=timeout)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [task.result() for task in done]


class Stepper(StepWithoutTasks, Waiter):
    """Our change over that."""


async def test_a_coroutine_that_blocks_goes_on_where_it_was():
    gate = asyncio.Event()
    steps = []

    async def blocks() -> str:
        steps.append("begun")
        await gate.wait()
        steps.append("goes on")
        await asyncio.sleep(0)
        return "done"

    waiting = asyncio.ensure_future(Stepper().wait_first(blocks(), asyncio.Event().wait()))
    await asyncio.sleep(0)
    assert steps == ["begun"]
    gate.set()
    assert await waiting == ["done"]
    assert steps == ["begun", "goes on"]


async def test_a_coroutine_that_blocks_is_cancelled_when_the_other_is_first():
    cancelled = []

    async def blocks() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def at_once() -> str:
        return "the other"

    assert await Stepper().wait_first(blocks(), at_once()) == ["the other"]
    assert cancelled == [True]


async def test_what_a_coroutine_raises_at_its_first_step_is_raised_and_the_other_is_not_left_behind():
    async def fails() -> None:
        raise LookupError

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LookupError):
            await Stepper().wait_first(fails(), asyncio.Event().wait())
        gc.collect()


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_thousands_of_tasks_outlive_workers_that_join_stop_and_die(stack, settings, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "handed").mkdir()
    ours = Barnabas(settings, stack, tmp_path / "ours")

    def course() -> dict:
        try:
            ours.add_worker(Tier.URGENT)
            return effects(ours, tmp_path / "handed", Pace(per_second=200, cpu_ms=1), 60)
        finally:
            ours.close()

    found = await asyncio.to_thread(course)
    assert [effect.missing for change in Change for effect in found[change]] == [0] * 5
    assert [effect.repeats for change in (Change.JOIN, Change.STOP) for effect in found[change]] == [0, 0, 0]
    # At most what each of the dead worker's partitions had in its hands.
    for change in (Change.KILL, Change.RESTART):
        assert found[change][0].repeats <= settings.partitions
