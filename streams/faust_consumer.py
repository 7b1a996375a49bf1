"""Four changes to Faust's consumer, by subclassing: each is small, named, and has a test that tells when Faust mends it.

`FinishBeforeRevocation`: before its partitions are given away, what runs is finished and committed. Faust forgets what
was acknowledged first and commits then, so the next owner runs up to a commit interval of tasks again.

`StepWithoutTasks`: a message is handed to its stream without four asyncio tasks around it, unless the stream is full.
Faust makes them for each message, which is most of what it costs.

`CommitInTime`: a commit ends. Where a rebalance meets a stop, Faust closes the group's coordinator, and a commit after
that is tried for ever by aiokafka: the process would never drain.

`FetchInTime`: a fetch that finds nothing ends soon. Just after a rebalance one may be under way for a few partitions
only, and as one broker is asked once at a time, all others stand still until it ends: 1.5 s with Faust.
"""

from __future__ import annotations

import asyncio
import inspect
import types
from typing import TYPE_CHECKING, Any

import faust
from faust.transport.drivers import aiokafka

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Mapping

FETCH_MS = 200
"""How long the broker may keep a fetch for which it has nothing: longer is a longer pause after a rebalance, shorter is
CPU time of a worker that has nothing to do."""
COMMIT_SECONDS = 5.0
"""How long a commit may take; what was not committed is delivered again, and its outcome is known."""


class FinishBeforeRevocation:
    """Mixed into Faust's consumer."""

    async def on_partitions_revoked(self: Any, revoked: set[Any]) -> None:
        """Finish and commit what runs; then let Faust forget the partitions."""
        if self.assignment() and not self.app.should_stop:
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()  # what waits in the streams was not begun: it is the next owner's
            await self.wait_empty()
        await super().on_partitions_revoked(revoked)  # type: ignore[misc]  # of Faust's consumer


class StepWithoutTasks:
    """Mixed into Faust's consumer."""

    async def wait_first(self: Any, *coros: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - Faust's signature
        """Step the first of two coroutines at once; wait for either, as Faust does, only if it blocks."""
        if timeout is not None or len(coros) != 2 or not all(map(inspect.iscoroutine, coros)):
            return await super().wait_first(*coros, timeout=timeout)  # type: ignore[misc]  # of Faust's consumer
        first, second = coros
        try:
            blocked_on = first.send(None)
        except BaseException as error:
            second.close()
            if isinstance(error, StopIteration):
                return None
            raise
        return await super().wait_first(_resumed(first, blocked_on), second)  # type: ignore[misc]  # as above


async def _resumed(coro: Coroutine[Any, Any, Any], blocked_on: Any) -> Any:
    """Go on with a coroutine that was stepped once and blocked."""
    return await _rest(coro, blocked_on)


@types.coroutine
def _rest(coro: Coroutine[Any, Any, Any], blocked_on: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            try:
                value = yield blocked_on
            except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's to handle
                blocked_on = coro.throw(error)
            else:
                blocked_on = coro.send(value)
    except StopIteration as stop:
        return stop.value


class FetchInTime(aiokafka.AIOKafkaConsumerThread):
    """The thread that speaks to Kafka for Faust's consumer."""

    def _create_worker_consumer(self, transport: aiokafka.Transport) -> Any:
        """Return the consumer as Faust sets it up, less patient."""
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MS  # noqa: SLF001 - it passes this on as it starts; Faust has no setting
        return consumer


class CommitInTime(aiokafka.AIOKafkaConsumerThread):
    """The thread that speaks to Kafka for Faust's consumer."""

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        """Commit, or say that it was not done."""
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                return bool(await super()._commit(offsets))
        except TimeoutError:
            return False


class Thread(FetchInTime, CommitInTime):
    """Faust's thread with both."""


class Consumer(FinishBeforeRevocation, StepWithoutTasks, aiokafka.Consumer):  # type: ignore[misc]  # Faust has no types
    """Faust's consumer with all four."""

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)


class Transport(aiokafka.Transport):
    """Faust's transport with our consumer."""

    Consumer = Consumer


class App(faust.App):
    """Faust's app with our transport."""

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)
