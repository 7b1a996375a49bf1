"""Workers die, freeze, leave and join while they speak: no token is lost, changed or repeated, and none speaks for ever.

What was said is read from the log by `hearing`, which knows the contract and nothing of the worker's own fold. The
model babbles: answers are as long as a test wants them.
"""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backbone.clock import now_ms
from backbone.settings import TierTable
from inference_worker.partition import AT_ONCE, LOOK_AHEAD
from schemas.records import DeltaType, Status
from schemas.tiers import Tier
from tests.inference_worker import babbler
from tests.inference_worker.asking import ask, end_of, ended, submit
from tests.inference_worker.fleet import Fleet, end
from tests.inference_worker.hearing import Listening
from tests.inference_worker.mortal_worker import POINTS
from tests.support import apart

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable

    from backbone.settings import Settings
    from schemas.records import Task
    from tests.inference_worker.hearing import Heard

pytestmark = [pytest.mark.stack, pytest.mark.slow]

ENDLESS = babbler.CONTEXT - 200
"""At more than two thousand tokens a second, which this model may say, that is longer than a test waits for a move."""


@pytest.fixture(scope="module")
async def own(stack) -> Settings:
    """The run's servers, with topics of these tests' own."""
    return await apart(stack.settings, "deaths")


@pytest.fixture(scope="module")
async def fleet(own, converted, tmp_path_factory) -> AsyncIterator[Fleet]:
    home = tmp_path_factory.mktemp("deaths")
    babbler.install(converted[1], home / "models", tmp_path_factory.mktemp("babbler"))
    # A drain may take half of what an urgent request may wait: here three seconds, on a machine that may be slow.
    urgent = TierTable().urgent.model_copy(update={"start_by": timedelta(seconds=6)})
    async with Fleet(
        own,
        home,
        model=babbler.NAME,
        inference_threads=1,
        inference_slots=16,
        max_context=babbler.CONTEXT,
        tiers=TierTable(urgent=urgent),
    ) as workers:
        yield workers


async def _asks(fleet: Fleet, worker: Process, *lengths: int, tier: Tier = Tier.BATCH, **more: Any) -> list[Task]:
    """Return requests that a worker will get, for answers of these lengths."""
    return [
        ask(
            f"Tell me about the number {n}.",
            tier,
            key=await fleet.key_of(worker, tier),
            payload={"max_tokens": length, "temperature": 0.8, "top_k": 40, "seed": n, "ignore_eos": True},
            **more,
        )
        for n, length in enumerate(lengths)
    ]


def _pid(name: str) -> int:
    """Return the process of a worker's name."""
    return int(name.rpartition(":")[2])


def _by(worker: Process) -> Callable[[Heard], bool]:
    """Return whether a worker claimed an answer last."""
    return lambda heard: _pid(heard.workers[-1]) == worker.pid


async def test_killed_in_the_middle_its_answers_go_on_elsewhere_and_others_hear_nothing_of_it(own, fleet):
    ada, bob = await fleet.ready(2)
    cut, whole = await _asks(fleet, ada, 2000, 2100, 2200, 2300, 2400), await _asks(fleet, bob, 1500, 2500)
    async with Listening(own) as log:
        await submit(own, *cut, *whole)
        await log.until([*cut, *whole], lambda heard: len(heard.ids) >= 20)
        await end(ada, signal.SIGKILL)
        await log.until(cut, lambda heard: len(heard.claims) == 2)
        before = log.said(cut)
        after = await log.ends(cut)
        undisturbed = await log.ends(whole)
    for ids, heard in zip(before, after, strict=True):
        assert 20 <= len(ids) < len(heard.ids)
        assert tuple(heard.ids[: len(ids)]) == ids
        assert len(heard.claims) == 2
        assert _by(bob)(heard)
    assert [len(heard.claims) for heard in undisturbed] == [1, 1]


async def test_a_zombie_is_not_heard_and_stops_by_itself(own, fleet):
    ada, bob = await fleet.ready(2)
    tasks = await _asks(fleet, ada, *[2500] * 4)
    async with Listening(own) as log:
        await submit(own, *tasks)
        await log.until(tasks, lambda heard: len(heard.ids) >= 20)
        ada.send_signal(signal.SIGSTOP)
        await log.until(tasks, lambda heard: _by(bob)(heard) and len(heard.claims) == 2)
        at_the_claim = log.said(tasks)
        ada.send_signal(signal.SIGCONT)
        await fleet.settled(ada, bob)
        heard = await log.ends(tasks)
    for ids, one in zip(at_the_claim, heard, strict=True):
        assert tuple(one.ids[: len(ids)]) == ids
        # It had two thousand tokens left to say.
        assert len(one.stale) < 1000
        # Back in the group it may be given its partitions again: then it claims once more, and rightly.
        assert [_pid(name) for name in one.workers] == [ada.pid, bob.pid, ada.pid][: len(one.workers)]


async def test_a_drain_finishes_what_is_short_hands_over_what_is_long_and_commits(own, fleet):
    ada, bob = await fleet.ready(2)
    (short,) = await _asks(fleet, ada, 30)
    (long,) = await _asks(fleet, ada, ENDLESS)
    while fleet.place(Tier.BATCH, long.key) == fleet.place(Tier.BATCH, short.key):
        (long,) = await _asks(fleet, ada, ENDLESS)
    async with Listening(own) as log:
        await submit(own, long)
        await log.until([long], lambda heard: heard.ids)
        await submit(own, short)
        await log.until([short], lambda heard: heard.claims)
        assert await end(ada) == 0
        await log.until([long], lambda heard: _by(bob)(heard) and len(heard.ids) > 20)
        (finished,) = await log.ends([short])
        await log.cancel([long])
    assert len(finished.claims) == 1
    assert len(log.heard(long).claims) == 2
    assert await fleet.uncommitted(Tier.BATCH, short.key) == 0


async def test_who_joins_or_leaves_moves_what_changes_hands_and_disturbs_nothing_else(own, fleet):
    ada, bob = await fleet.ready(2)
    keys = {fleet.place(Tier.BATCH, key := str(n)): key for n in range(200)}
    assert len(keys) == own.partitions
    payload = {"max_tokens": ENDLESS, "ignore_eos": True}
    tasks = [ask("Tell me everything.", Tier.BATCH, key=key, payload=payload) for key in keys.values()]

    async def hands() -> list[int]:
        owners = await fleet.owners()
        return [owners[fleet.place(Tier.BATCH, task.key)] for task in tasks]

    def heard_in(hands: list[int]) -> bool:
        return all(_pid(log.heard(task).workers[-1]) == pid for task, pid in zip(tasks, hands, strict=True))

    async with Listening(own) as log:
        await submit(own, *tasks)
        await log.until(tasks, lambda heard: heard.ids)
        first = await hands()
        cleo = await fleet.start()
        await fleet.settled(ada, bob, cleo)
        second = await hands()
        await log.tokens.until(lambda _: heard_in(second))
        said = max(len(ids) for ids in log.said(tasks))
        assert await end(cleo) == 0
        await fleet.settled(ada, bob)
        third = await hands()
        await log.tokens.until(lambda _: heard_in(third))
        await log.until(tasks, lambda heard: len(heard.ids) > said)
        assert not any(log.heard(task).finish for task in tasks)
        await log.cancel(tasks)
    changes = [(one != two) + (two != three) for one, two, three in zip(first, second, third, strict=True)]
    assert [len(log.heard(task).claims) - 1 for task in tasks] == changes
    assert {second.count(worker.pid) for worker in (ada, bob, cleo)} <= {5, 6}
    assert 0 in changes


async def test_killed_at_each_point_between_claim_and_commit(own, fleet):
    (ada,) = await fleet.ready(1)
    mortals = await asyncio.gather(
        *(fleet.start(point, module="tests.inference_worker.mortal_worker") for point in POINTS)
    )
    await fleet.settled(ada, *mortals)
    tasks = {point: (await _asks(fleet, mortal, 10))[0] for point, mortal in zip(POINTS, mortals, strict=True)}
    async with Listening(own) as log:
        await submit(own, *tasks.values())
        assert await asyncio.gather(*(mortal.wait() for mortal in mortals)) == [-signal.SIGKILL] * len(POINTS)
        await log.results.until(ended(list(tasks.values())), limit=60)
        await fleet.settled(ada)
        await log.until(tasks.values(), lambda heard: heard.finish)
    heard = {point: log.heard(task) for point, task in tasks.items()}
    assert {point: len(one.claims) for point, one in heard.items()} == {
        "claimed": 2,
        "ended": 2,
        "settled": 1,
        "told": 1,
    }
    for point, task in tasks.items():
        ends = {
            (event.status, event.result)
            for event in log.results.records
            if event.task_id == task.id and event.status.terminal
        }
        ((status, result),) = ends
        assert status is Status.SUCCEEDED
        assert (json.loads(result)["text"], len(heard[point].ids)) == (heard[point].text, 10)


async def test_who_is_first_and_slow_holds_back_no_more_than_the_look_ahead(own, fleet):
    (ada,) = await fleet.ready(1)
    (slow,) = await _asks(fleet, ada, ENDLESS, tier=Tier.LOW)
    behind = [ask(f"{n}", Tier.LOW, key=slow.key, payload={"max_tokens": 1}) for n in range(LOOK_AHEAD + 100)]
    async with Listening(own) as log:
        await submit(own, slow)
        await log.until([slow], lambda heard: heard.ids)
        await asyncio.gather(*(submit(own, task) for task in behind))
        least = LOOK_AHEAD - AT_ONCE
        await log.results.until(lambda events: sum(event.status.terminal for event in events) >= least)
        # A request of another partition goes through all the while.
        (other,) = await _asks(fleet, ada, 5)
        await submit(own, other)
        await log.ends([other])
        claimed = {delta.task_id for delta in log.tokens.records if delta.type is DeltaType.CLAIM} - {other.id}
        assert least < len(claimed) <= LOOK_AHEAD
        assert log.heard(slow).finish is None
        await log.cancel([slow])
        await log.results.until(ended(behind))
    assert {end_of(log.results.records, task).status for task in behind} == {Status.SUCCEEDED}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.long)])
async def test_many_go_on_with_the_same_words(stack, converted, tmp_path, record_testsuite_property, count):
    """Mixed lengths, sampled, in deterministic mode: each text is that of a run that nobody disturbed."""
    own = await apart(stack.settings, f"same-words-{count}")
    babbler.install(converted[1], tmp_path / "home" / "models", tmp_path)
    async with Fleet(
        own,
        tmp_path / "home",
        model=babbler.NAME,
        deterministic=True,
        inference_slots=count + 14,
        max_context=1024,
        inference_threads=1,
    ) as fleet:
        ada, bob = await fleet.ready(2)
        # They begin one after another, a prompt a step: whoever begins first is the furthest when the last has begun.
        lengths = [500 - 6 * n for n in range(count)]
        in_time = {"start_by": now_ms() + 900_000, "deadline": now_ms() + 900_000}
        undisturbed = await _asks(fleet, bob, *lengths, **in_time)
        disturbed = await _asks(fleet, ada, *lengths, **in_time)
        async with Listening(own) as log:
            await submit(own, *undisturbed)
            await log.results.until(ended(undisturbed), limit=240)
            await submit(own, *disturbed)
            await log.until(disturbed, lambda heard: len(heard.ids) >= 20, limit=120)
            said = log.said(disturbed)
            assert not any(log.heard(task).finish for task in disturbed)
            await end(ada, signal.SIGKILL)
            resumed = await log.ends(disturbed)
            whole = await log.ends(undisturbed)
    for ids, one, other in zip(said, whole, resumed, strict=True):
        assert tuple(other.ids[: len(ids)]) == ids
        assert (len(one.claims), len(other.claims)) == (1, 2)
        assert (other.ids, other.text) == (one.ids, one.text)
    pauses = sorted(pause for one in resumed for pause in one.pauses)
    record_testsuite_property(
        f"pauses_ms_of_{count}", f"{pauses[0]} to {pauses[-1]}, median {pauses[len(pauses) // 2]}"
    )
