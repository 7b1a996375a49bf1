"""Asks for what was drawn, as a careful client would: again and again with the same key, until it is accepted.

Most goes through the edge, some straight to the topics. What counts as accepted is what somebody said so of: a 202, or
Kafka's acknowledgement.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from aiokafka.errors import KafkaError

from backbone.ids import derived_id
from backbone.kafka import HEADERS, name_of
from barnabas.errors import EdgeError, NoStackError, WaitTimeoutError
from barnabas.replies import Step
from schemas import codec
from schemas.topics import TASKS, TIMERS
from tests.chaos.load import OWNER, Ask, What
from tests.chaos.promises import Asked, Promised
from tests.support import JSON_HEADERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiokafka import AIOKafkaProducer

    from backbone.settings import Settings
    from barnabas.client import Client
    from schemas.records import Timer
    from schemas.tiers import Tier

A = TypeVar("A")

PATIENCE = 240.0
"""Seconds for which something is asked for again."""
FIRST_WAIT, LONGEST_WAIT = 0.25, 4.0
"""Seconds from one try to the next; each wait is twice the one before."""
AT_ONCE = 32
"""How many tries are made at the same time: those who wait for a server that is away do not keep it from starting."""


class GivenUpError(Exception):
    """It was asked for again and again, in vain; or was refused."""


class Submitter:
    """Asks, and keeps what was accepted.

    Attributes:
        asked: what was accepted so far.
        accepted_at: when the edge accepted something, in seconds since the epoch.
        counts: how much of each row of the mix was accepted.
        again: how often something had to be asked for again.
    """

    def __init__(self, settings: Settings, client: Client, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._client = client
        self._producer = producer
        self._few = asyncio.Semaphore(AT_ONCE)
        self.asked = Asked()
        self.accepted_at: list[float] = []
        self.counts: Counter[What] = Counter()
        self.again = 0

    async def run(self, asks: Iterable[Ask]) -> None:
        """Ask for each thing at its moment; return when all have their answers."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as asking:
            for ask in asks:
                asking.create_task(self._at_its_moment(ask, began + ask.after), name=ask.name)

    async def _at_its_moment(self, ask: Ask, moment: float) -> None:
        await asyncio.sleep(moment - asyncio.get_running_loop().time())
        try:
            await self._ask(ask)
        except GivenUpError as error:
            self.asked.refused.append((f"{ask.name} ({ask.what})", str(error)))
            self.asked.maybe.add(derived_id(OWNER, ask.name))
        else:
            self.counts[ask.what] += 1

    async def _ask(self, ask: Ask) -> None:
        match ask.what:
            case What.DIRECT:
                await self._produce_task(ask)
            case What.GARBAGE:
                await self._produce_garbage(ask)
            case What.ONCE:
                await self._schedule(ask)
            case _:
                task_id = await self._submit(ask)
                if ask.what is What.CANCEL:
                    await asyncio.sleep(ask.later)
                    await self._cancel(task_id)

    async def _submit(self, ask: Ask) -> str:
        first, *then = ask.work
        deadline = None
        if ask.what is What.EXPIRE:
            deadline = datetime.now(UTC) + timedelta(seconds=ask.later)

        async def once() -> str:
            receipt = await self._client.submit(
                first.kind,
                first.payload,
                tier=first.tier,
                idempotency_key=ask.name,
                ordering_key=ask.key,
                then=[Step(kind=step.kind, payload=step.payload, tier=step.tier) for step in then],
                deadline=deadline,
            )
            return receipt.id

        task_id = await self._through_the_edge(once)
        self._promise(task_id, ask)
        if ask.what is What.TWICE:
            await asyncio.sleep(ask.later)
            if (second := await self._through_the_edge(once)) != task_id:
                raise GivenUpError(f"sent twice, it was {task_id} first and {second} then")
        return task_id

    async def _cancel(self, task_id: str) -> None:
        async def once() -> str | None:
            try:
                return (await self._client.cancel(task_id)).id
            except EdgeError as error:
                if error.code == "task.ended":
                    return None
                raise

        cancelled = await self._through_the_edge(once)
        if cancelled is not None:
            self.asked.cancelled.append(cancelled)

    async def _schedule(self, ask: Ask) -> None:
        (work,) = ask.work
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1 + round(ask.later))
        timer_id = derived_id(ask.name)

        async def once() -> str:
            made = await self._client.schedule(work.kind, work.payload, tier=work.tier, at=at, id=timer_id)
            return made.id

        await self._through_the_edge(once)
        self.asked.timers[timer_id] = int(at.timestamp() * 1000)

    async def _produce_task(self, ask: Ask) -> None:
        (work,) = ask.work
        task_id = derived_id(ask.name)
        value = json.dumps({"id": task_id, "kind": work.kind, "payload": work.payload}).encode()
        await self._until_accepted(lambda: self._produce(work.tier, value, task_id))
        self._promise(task_id, ask)

    async def _produce_garbage(self, ask: Ask) -> None:
        tier = ask.work[0].tier
        partition, offset = await self._until_accepted(lambda: self._produce(tier, b"{nonsense", ask.name))
        self.asked.garbage.append((name_of(self._settings, TASKS[tier]), partition, offset))

    async def _produce(self, tier: Tier, value: bytes, key: str) -> tuple[int, int]:
        topic = name_of(self._settings, TASKS[tier])
        done = await self._producer.send_and_wait(topic, value, key=key.encode(), headers=JSON_HEADERS)
        return done.partition, done.offset

    async def put_timer(self, timer: Timer) -> None:
        """Make a timer, straight on its topic; its slots are to be accounted for from now on."""

        async def once() -> None:
            name, value = name_of(self._settings, TIMERS), codec.encode(timer)
            await self._producer.send_and_wait(name, value, key=timer.id.encode(), headers=HEADERS)

        await self._until_accepted(once)
        self.asked.timers[timer.id] = timer.created_at

    async def remove_timer(self, timer_id: str, until: int) -> None:
        """Remove a timer through the edge; its slots up to `until` (ms since the epoch) are to be accounted for."""

        tries = count()

        async def once() -> None:
            try:
                await self._client.unschedule(timer_id)
            except EdgeError as error:
                if error.code != "schedule.unknown" or next(tries) == 0:
                    raise  # else an earlier try removed it, and its answer was lost

        await self._through_the_edge(once)
        self.asked.timers[timer_id] = until

    def _promise(self, task_id: str, ask: Ask) -> None:
        self.asked.tasks[task_id] = Promised(
            kinds=tuple(work.kind for work in ask.work),
            ends=tuple(work.ends for work in ask.work),
            says=tuple(work.says for work in ask.work),
        )

    async def _through_the_edge(self, once: Callable[[], Awaitable[A]]) -> A:
        """Do something until the edge accepts it, and keep when it did.

        Raises:
            GivenUpError: it was refused for good, or not accepted in time.
        """
        done = await self._until_accepted(once)
        self.accepted_at.append(time.time())
        return done

    async def _until_accepted(self, once: Callable[[], Awaitable[A]]) -> A:
        """Do something until it is accepted.

        Raises:
            GivenUpError: it was refused for good, or not accepted in time.
        """
        give_up, wait = time.monotonic() + PATIENCE, FIRST_WAIT
        while True:
            try:
                async with self._few:
                    done = await once()
            except (EdgeError, NoStackError, WaitTimeoutError, KafkaError) as error:
                if isinstance(error, EdgeError) and not error.retryable:
                    raise GivenUpError(f"{error.code}: {error.message}") from error
                if time.monotonic() > give_up:
                    raise GivenUpError(f"not accepted within {PATIENCE:.0f} s: {error}") from error
            else:
                return done
            self.again += 1
            await asyncio.sleep(wait)
            wait = min(LONGEST_WAIT, 2 * wait)
