"""The Kafka shell: requests in, tokens out. Wires intake, tail, engine and outcome store; decides nothing itself.

Announces its kinds, loads the model while the rest of the house serves, and only then joins the group: a request never
waits for a worker that can't answer yet. On a drain it takes nothing more, finishes what it can in the time it has, and
leaves the rest to whoever gets its partitions: they go on from the token log. That time is short where others are there:
until it leaves, nobody answers what comes to its partitions.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from backbone import cancellations
from backbone.blobs import Blobs
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, StoreUnavailableError
from backbone.intake import task_or_letter
from backbone.kafka import Producer, partition_of, topic_of
from backbone.outcome import Outgoing
from backbone.outcomes import OutcomeStore
from backbone.presence import instance_name
from backbone.redis import connect
from inference_worker import loading
from inference_worker.answering import RETRY_SECONDS, Answering
from inference_worker.errors import SupersededError
from inference_worker.intake import Intake
from inference_worker.kinds import announcements
from inference_worker.live_model import LiveModel
from inference_worker.partition import InHand, RequestPartition
from inference_worker.remote.model import RemoteModel
from inference_worker.tail import Tail
from schemas import codec
from schemas.topics import INFERENCE, KINDS

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from datetime import timedelta

    from backbone.settings import Settings
    from backbone.telemetry import Readiness
    from inference_worker.intake import Commit, Message
    from inference_worker.serving import Serving
    from schemas.records import Task

_log = structlog.get_logger()
COMMIT_SECONDS = 0.3
SUPERSEDED_SECONDS = 3.0
"""Pause before a request that another worker claimed is claimed again: by then the group has told whose it is."""
UNKNOWN_SCHEMA_SECONDS = 6.0
"""Pause before a record of a newer writer is tried again."""


class Worker:
    """One inference worker: start it, wait, stop it."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness
        self._redis = connect(settings)
        self._producer = Producer(settings)
        self._tail = Tail(settings)
        self._in_hand: dict[RequestPartition, InHand] = {}
        self._committed: dict[RequestPartition, Commit] = {}
        self._background: list[asyncio.Task[None]] = []
        self._draining = False

    async def start(self) -> None:
        """Announce the kinds, open the model, and join the group.

        Raises:
            InferenceError: the model can't be loaded.
            BrokerUnavailableError: no broker answers.
        """
        await self._producer.start()
        for kind in announcements():
            await self._producer.send(KINDS, kind.kind, kind)
        self._serving = await self._open()
        await self._tail.start()
        self._answering = Answering(
            settings=self._settings,
            serving=self._serving,
            producer=self._producer,
            store=OutcomeStore(self._redis, self._settings),
            tail=self._tail,
            blobs=Blobs.of(self._settings),
            worker=instance_name(),
            now=now_ms,
            jitter=random.random,
        )
        self._background = [
            asyncio.create_task(work)
            for work in (
                self._tail.run(),
                self._commit_now_and_then(),
                cancellations.listen(self._settings, self._answering.cancel),
            )
        ]
        self._intake = Intake(self._settings, self)
        self._intake.start()

    async def _open(self) -> Serving[Any]:
        tell = self._readiness.not_ready
        if self._settings.remote_url:
            return await RemoteModel.open(self._settings, now_ms, tell)
        return LiveModel.start(await loading.load(self._settings, self._redis, tell), self._settings, now_ms)

    async def crashed(self) -> BaseException:
        """Wait until the worker can't go on, and return why."""
        watched: set[asyncio.Future[Any]] = {*self._background, self._serving.crashed, self._intake.crashed}
        done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        ended = done.pop()
        return ended.exception() or ended.result() or RuntimeError("a part of the worker ended")

    async def stop(self) -> None:
        """Take nothing more, finish what is done in time, commit, and leave the group."""
        self._draining = True
        for partition in self._in_hand:
            self._intake.flow(partition, False)
        finishing = [in_hand.settled() for in_hand in self._in_hand.values()]
        try:
            async with asyncio.timeout(self._time_to_finish().total_seconds()):
                await asyncio.gather(*finishing)
        except TimeoutError:
            _log.info("worker.hands_over", requests=sum(len(one.task_ids) for one in self._in_hand.values()))
        await self._intake.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._serving.stop()
        await self._tail.stop()
        await self._producer.stop()
        await self._redis.aclose()

    def _time_to_finish(self) -> timedelta:
        """Return how long a drain waits: with others there, no urgent request of these partitions may be too late for it."""
        alone = len(self._in_hand) == len(INFERENCE) * self._settings.partitions
        longest = self._settings.drain_timeout
        return longest if alone else min(longest, self._settings.tiers.urgent.start_by / 2)

    async def assigned(self, floors: Mapping[RequestPartition, int | None]) -> None:
        """Begin to work on partitions; see `intake.Listener`."""
        lowest: dict[int, int | None] = {}
        for partition, floor in (*self._followed({partition.number for partition in floors}), *floors.items()):
            earlier = lowest.get(partition.number, floor)
            lowest[partition.number] = None if floor is None or earlier is None else min(floor, earlier)
        for partition in floors:
            self._in_hand[partition] = InHand(partial(self._intake.flow, partition))
        await self._tail.follow(lowest)
        if not self._readiness.ready:
            self._readiness.is_ready()
            _log.info("worker.ready", model=self._settings.model)

    def _followed(self, numbers: Container[int]) -> list[tuple[RequestPartition, int]]:
        """Return the floors of what is in hand of other tiers of these numbers: their tokens lie in the same partition."""
        return [
            (partition, self._tail.floor(partition.number, in_hand.task_ids))
            for partition, in_hand in self._in_hand.items()
            if partition.number in numbers
        ]

    async def revoked(self, partitions: list[RequestPartition]) -> dict[RequestPartition, Commit]:
        """Stop working on partitions; see `intake.Listener`."""
        gone = {partition: self._in_hand[partition] for partition in partitions if partition in self._in_hand}
        commits = self._commits(gone)
        await asyncio.gather(*(in_hand.let_go() for in_hand in gone.values()))
        for partition in gone:
            del self._in_hand[partition]
            self._committed.pop(partition, None)
        left = {partition.number for partition in self._in_hand}
        self._tail.unfollow({partition.number for partition in gone} - left)
        return commits

    def received(self, message: Message) -> None:
        """Begin to work on a message; see `intake.Listener`."""
        partition = RequestPartition(message.topic, message.partition)
        if (in_hand := self._in_hand.get(partition)) and not self._draining:
            in_hand.take(message.offset, self._work(in_hand, partition, message))

    def uncommitted(self, partitions: list[RequestPartition]) -> None:
        """Commit these again; see `intake.Listener`."""
        for partition in partitions:
            self._committed.pop(partition, None)

    async def _work(self, in_hand: InHand, partition: RequestPartition, message: Message) -> None:
        """Do what a message asks for, however often it takes; return when nothing of it is left to do."""
        while True:
            try:
                await self._once(in_hand, partition, message)
            except (StoreUnavailableError, BrokerUnavailableError) as error:
                _log.warning("worker.waits", partition=partition, offset=message.offset, reason=error.code)
                await asyncio.sleep(RETRY_SECONDS)
            except SupersededError:
                _log.info("worker.superseded", partition=partition, offset=message.offset)
                await asyncio.sleep(SUPERSEDED_SECONDS)
            except codec.UnknownSchemaError as error:
                # A newer writer, not bad data: it waits, and its partition is not committed past it.
                _log.error("worker.unknown_schema", partition=partition, offset=message.offset, error=str(error))
                await asyncio.sleep(UNKNOWN_SCHEMA_SECONDS)
            except Exception:  # noqa: BLE001
                # A fault of ours: better the same request again than a request lost.
                _log.exception("worker.fault", partition=partition, offset=message.offset)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _once(self, in_hand: InHand, partition: RequestPartition, message: Message) -> None:
        task = task_or_letter(self._settings, *message, now=now_ms())
        if isinstance(task, Outgoing):
            await self._producer.send_all((task,))
            return
        in_hand.know(message.offset, task.id)
        if partition_of(task.key, self._settings.partitions) != partition.number:
            await self._send_on(task, partition)
            return
        await self._answering.answer(task, partition.number)

    async def _send_on(self, task: Task, partition: RequestPartition) -> None:
        """Send a request to the partition of its key, where its tokens will lie: its client partitions by another rule."""
        _log.info("worker.sends_on", task=task.id, partition=partition)
        await self._producer.send(topic_of(self._settings, partition.topic), task.key, task)

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            commits = self._commits(self._in_hand)
            changed = {where: commit for where, commit in commits.items() if self._committed.get(where) != commit}
            if changed:
                self._intake.commit(changed)
                self._committed |= changed

    def _commits(self, partitions: Mapping[RequestPartition, InHand]) -> dict[RequestPartition, Commit]:
        return {
            partition: (offset, self._tail.floor(partition.number, in_hand.task_ids))
            for partition, in_hand in partitions.items()
            if (offset := in_hand.offsets.committable) is not None
        }
