"""The timer service on the real Kafka, under the real supervisor."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from backbone.clock import now_ms
from backbone.ids import derived_id, new_id
from backbone.settings import Settings
from backbone.stamp import stamp
from schemas import topics
from schemas.records import FireOutcome, Task, Template, Timer
from schemas.tiers import Tier
from tests.support import Log, beside, produce, produce_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from barnabas.local.stack import LocalStack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
async def service(settings, tmp_path_factory) -> AsyncIterator[LocalStack]:
    """The service's process, on the Kafka and Valkey of the run."""
    async with beside(settings, tmp_path_factory.mktemp("timers") / "home", "timers") as running:
        yield running


def timer(**fields) -> Timer:
    task = Task(kind="cron.parse", tier=Tier.LOW, payload=b'{"expression":"@daily"}')
    return Timer(
        **{
            "id": new_id(),
            "owner": "ada",
            "tenant": "ada",
            "template": Template(task=task),
            "created_at": now_ms(),
            **fields,
        }
    )


def of(identity: str, count: int = 1):
    """Tell whether there are as many Fires of a timer."""
    return lambda fires: sum(fire.timer_id == identity for fire in fires) >= count


async def test_a_one_off_makes_its_task_and_is_accounted_for(service, settings):
    once = timer(at=now_ms() + 300)
    async with Log(settings, topics.TASKS[Tier.LOW]) as tasks, Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, once.id, once)
        (fire,) = [fire for fire in await fires.until(of(once.id)) if fire.timer_id == once.id]
        made = [task for task in await tasks.until(bool) if task.id == fire.task_id]
    assert (fire.slot, fire.outcome, fire.task_id) == (once.at, FireOutcome.FIRED, derived_id(once.id, once.at))
    assert [(task.owner, task.created_at, task.tier) for task in made] == [("ada", once.at, Tier.LOW)]


async def test_an_attempt_that_waits_in_a_timer_keeps_its_id_and_times(service, settings):
    again = stamp(
        Task(kind="cron.parse", attempt=2),
        task_id=new_id(), tier=Tier.LOW, policy=Settings().tiers.low, now=now_ms() - 60_000,
    )  # fmt: skip
    retry = timer(at=now_ms(), template=Template(task=again), owner=again.owner, tenant=again.tenant)
    async with Log(settings, topics.TASKS[Tier.LOW]) as tasks:
        await produce(settings, topics.TIMERS, retry.id, retry)
        assert again in await tasks.until(lambda made: again in made)


def held_against(fires, often: Timer) -> list[int]:
    """Return the slots of a timer that are accounted for; none may be missing, none may have two outcomes."""
    outcomes: dict[int, set[str]] = defaultdict(set)
    for fire in fires:
        if fire.timer_id == often.id:
            for slot in range(fire.slot, (fire.to_slot or fire.slot) + 1, often.every):
                outcomes[slot].add(fire.outcome.value)
            assert fire.task_id == (None if fire.outcome is FireOutcome.SKIPPED else derived_id(often.id, fire.slot))
    assert {slot: what for slot, what in outcomes.items() if len(what) != 1} == {}
    slots = sorted(outcomes)
    assert slots == list(range(often.created_at + often.every, slots[-1] + 1, often.every))
    return slots


async def test_slots_go_on_after_a_kill_and_each_is_accounted_for_once(service, settings):
    often = timer(every=400)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, often.id, often)
        await fires.until(of(often.id, 4))
        os.kill(service.pid("timers"), signal.SIGKILL)
        killed = now_ms()
        seen = await fires.until(lambda told: any(f.timer_id == often.id and f.at > killed + 2000 for f in told))
    assert held_against(seen, often)[-1] > killed


async def test_one_that_is_stopped_past_its_session_and_wakes_disturbs_no_slot_of_its_successor(
    service, settings, tmp_path
):
    """Two services share the timers; one is stopped until the other has taken over, and goes on then."""
    some = [timer(every=500) for _ in range(12)]
    async with beside(settings, tmp_path / "home", "timers") as second, Log(settings, topics.TIMERS_FIRED) as fires:
        for one in some:
            await produce(settings, topics.TIMERS, one.id, one)
        await fires.until(lambda told: {one.id for one in some} <= {fire.timer_id for fire in told})
        os.kill(second.pid("timers"), signal.SIGSTOP)
        stopped = now_ms()
        try:
            # The successor has taken over once each timer fires again.
            await fires.until(
                lambda told: {one.id for one in some} <= {fire.timer_id for fire in told if fire.at > stopped + 4000}
            )
        finally:
            os.kill(second.pid("timers"), signal.SIGCONT)
        woken = now_ms()
        seen = await fires.until(
            lambda told: {one.id for one in some} <= {fire.timer_id for fire in told if fire.at > woken + 3000}
        )
        for one in some:
            held_against(seen, one)


async def test_bytes_that_are_no_state_are_a_dead_letter_and_the_service_starts_all_the_same(settings, tmp_path):
    await produce_bytes(settings, topics.TIMERS_STATE, b"garbage", key=b"x")
    once = timer(at=now_ms() + 200)
    async with (
        Log(settings, topics.DEAD_LETTERS) as letters,
        Log(settings, topics.TIMERS_FIRED) as fires,
        beside(settings, tmp_path / "home", "timers"),
    ):
        await letters.until(lambda told: any(letter.raw == b"garbage" for letter in told))
        await produce(settings, topics.TIMERS, once.id, once)
        await fires.until(of(once.id))


async def test_a_timer_that_means_nothing_disturbs_no_other(service, settings):
    good = timer(at=now_ms() + 200)
    async with Log(settings, topics.TIMERS_FIRED) as fires:
        await produce(settings, topics.TIMERS, "bad", timer(id="bad", cron="99 * * * *"))
        await produce(settings, topics.TIMERS, good.id, good)
        await fires.until(of(good.id))
