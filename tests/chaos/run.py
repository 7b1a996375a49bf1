"""One run: a stack of its own, the load and the faults at once, quiet, and the verdict.

    stack up  ->  timers made  ->  load | faults  ->  timers removed  ->  all has ended  ->  topics read whole  ->  verdict

Each wait has a limit. What has not ended by then is not waited for any longer: the verdict names it.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from backbone.clock import now_ms
from backbone.kafka import aiokafka_config
from backbone.settings import Settings, TierTable
from barnabas.client import Client
from barnabas.errors import EdgeError, NoStackError, WaitTimeoutError
from barnabas.local import processes
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from schemas.records import Status
from schemas.tiers import Tier
from tests.chaos import load
from tests.chaos.injector import Injector
from tests.chaos.plugin.chaos_work import read_notes
from tests.chaos.promises import Shown, broken, owed, unfinished
from tests.chaos.report import Report, make_report
from tests.chaos.submit import Submitter
from tests.chaos.tail import Tail, read_whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.chaos.ledger import Ledger
    from tests.chaos.plan import Plan

PLUGIN = Path(__file__).with_name("plugin")
WITHOUT_MODEL = tuple(name for name in processes.NAMES if name != processes.WORKER)
READ_AT_ONCE = 32
SAY_SECONDS = 5.0
ENDS = frozenset(status.value for status in Status if status.terminal)


async def chaos(plan: Plan, folder: Path, say: Callable[[str], None] = lambda _told: None) -> Report:
    """Run a plan, and return what came of it.

    Args:
        plan: what to do.
        folder: an empty one, for the stack's home, the logs and the notes of what was handed over.
        say: is told how it goes.
    """
    notes = folder / "handed-over"
    _put_plugin_on_the_path(notes)
    settings = Settings(home=folder / "home", tiers=_patient_tiers(), **FREE_PORTS)
    async with LocalStack(settings, only=processes.NAMES if plan.model else WITHOUT_MODEL) as stack:
        await stack.complete()
        say(f"the stack is up at {stack.edge_url}; seed {plan.seed}")
        async with _clients(stack) as (client, producer), _reading(Tail(stack.settings)) as tail:
            submitter = Submitter(stack.settings, client, producer)
            injector = Injector(stack, folder, say)
            await _until_served(client, {"cron.parse", "chaos.work", *(("llm.complete",) if plan.model else ())})
            rng, run = Random(plan.seed), f"chaos-{plan.seed}"
            for timer in load.draw_timers(rng, count=plan.timers, every_ms=plan.every_ms, run=run, now=now_ms()):
                await submitter.put_timer(timer)
            again_and_again = dict(submitter.asked.timers)
            mix = load.WITH_MODEL if plan.model else load.MIX
            asks = load.draw(rng, tasks=plan.tasks, seconds=plan.seconds, run=run, mix=mix)
            telling = asyncio.create_task(_tell(tail, submitter, say))
            try:
                async with asyncio.TaskGroup() as at_once:
                    at_once.create_task(submitter.run(asks))
                    at_once.create_task(injector.run(plan.faults))
                say("no more faults; waiting until all has ended")
                await _remove(again_and_again, submitter, tail, plan.quiet)
                await _until(lambda: not unfinished(tail.ledger, submitter.asked), plan.quiet)
            finally:
                telling.cancel()
            say("asking the edge for each task, and reading the topics from their beginnings")
            shown = await _shown(client, tail.ledger, owed(tail.ledger, submitter.asked), plan.quiet)
            ledger = await read_whole(stack.settings)
    return make_report(
        seed=plan.seed,
        ledger=ledger,
        broken=broken(ledger, submitter.asked, shown),
        accepted={what.value: many for what, many in submitter.counts.items()},
        again=submitter.again,
        accepted_at=submitter.accepted_at,
        struck=injector.struck,
        signs=tail.signs,
        notes=read_notes(notes),
    )


def _put_plugin_on_the_path(notes: Path) -> None:
    """Let the services that are started from here find the kind `chaos.work`, and where it notes things."""
    before = os.environ.get("PYTHONPATH")
    if str(PLUGIN) not in (before or "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PLUGIN), before)))
    os.environ["CHAOS_NOTES"] = str(notes)


def _patient_tiers() -> TierTable:
    """Return tiers that let tasks wait: here it is tested what is lost, not what is late."""
    patience = timedelta(minutes=20)
    return TierTable(
        **{
            tier.value: TierTable()[tier].model_copy(update={"start_by": patience, "deadline": patience})
            for tier in Tier
        }
    )


@asynccontextmanager
async def _clients(stack: LocalStack) -> AsyncIterator[tuple[Client, AIOKafkaProducer]]:
    key = stack.home.api_key.read_text().strip()
    async with (
        Client(stack.edge_url, key, timeout=15) as client,
        AIOKafkaProducer(**aiokafka_config(stack.settings), acks="all", enable_idempotence=True) as producer,
    ):
        yield client, producer


@asynccontextmanager
async def _reading(tail: Tail) -> AsyncIterator[Tail]:
    reading = asyncio.create_task(tail.run())
    try:
        yield tail
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading  # had it ended before, by an error, there would be no verdict


async def _until(condition: Callable[[], object], limit: float) -> None:
    """Wait until a condition holds, or the time is over."""
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110 - what is waited for is in other processes
        await asyncio.sleep(0.3)


async def _until_served(client: Client, kinds: set[str]) -> None:
    """Wait until the edge has heard of the kinds, which travels by a topic."""
    async with asyncio.timeout(60):
        while not kinds <= {kind.kind for kind in await client.kinds()}:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


async def _remove(timers: dict[str, int], submitter: Submitter, tail: Tail, limit: float) -> None:
    """Remove the timers once each has accounted for a slot after the last fault."""
    over = now_ms()
    await _until(lambda: all(max(tail.ledger.told(one), default=0) >= over for one in timers), limit)
    for one in timers:
        await submitter.remove_timer(one, over)


async def _tell(tail: Tail, submitter: Submitter, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(SAY_SECONDS)
        many, ended = sum(submitter.counts.values()), len(tail.ledger.ends)
        left = len(unfinished(tail.ledger, submitter.asked))
        say(f"{many} accepted, {ended} tasks ended with steps and slots, {left} to end or to fire")


async def _shown(client: Client, ledger: Ledger, ids: set[str], limit: float) -> dict[str, Shown]:
    """Return what the edge shows of each task, once it shows the end that it had; or what it shows when time is over."""
    end = time.monotonic() + limit
    some = asyncio.Semaphore(READ_AT_ONCE)

    async def show(identity: str) -> tuple[str, Shown | None]:
        async with some:
            found = await _state(client, identity)
            there = ledger.end(identity) is not None
            while there and (found is None or found.status not in ENDS) and time.monotonic() < end:
                await asyncio.sleep(0.2)
                found = await _state(client, identity)
            return identity, found

    rows: Sequence[tuple[str, Shown | None]] = await asyncio.gather(*(show(identity) for identity in ids))
    return {identity: found for identity, found in rows if found}


async def _state(client: Client, identity: str) -> Shown | None:
    try:
        state = await client.state(identity)
    except (EdgeError, NoStackError, WaitTimeoutError):
        return None
    return Shown(state.status, state.next)
