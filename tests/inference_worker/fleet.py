"""Several inference workers on the run's Kafka, as real processes that nobody starts again, and who has which partition.

async with Fleet(settings, home) as fleet:
    ada, bob = await fleet.start(), await fleet.start()
    await fleet.settled(ada, bob)
    ada.send_signal(signal.SIGKILL)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from backbone.ids import new_id
from backbone.kafka import librdkafka_config, name_of, partition_of
from barnabas.local.processes import WORKER
from schemas.topics import INFERENCE
from tests.support import beside, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

    from backbone.settings import Settings
    from schemas.tiers import Tier


class Fleet:
    """Workers that share a home, so that a model is converted once."""

    def __init__(self, settings: Settings, home: Path, **more: Any) -> None:
        """Make a fleet without workers; `more` are settings that all of them get."""
        self._settings = settings
        self._environment = beside(settings, home, WORKER, **more).environment
        self._log = home / "fleet.log"
        self._group = f"{settings.topic_prefix}inference_worker"
        self._admin = AdminClient(librdkafka_config(settings))
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        # librdkafka's thread hangs if its client is still there when the interpreter goes.
        del self._admin

    async def start(self, *arguments: str, module: str = "inference_worker", **settings: str) -> Process:
        """Start a worker, with settings of its own."""
        own = {f"BARNABAS_{name.upper()}": value for name, value in settings.items()}
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                env={**os.environ, **self._environment, **own},
                stderr=log,
                stdout=log,
            )
        self._processes.append(process)
        return process

    async def ready(self, count: int) -> list[Process]:
        """Return so many workers that share out all partitions: those that live, started or stopped as it takes."""
        alive = [process for process in self._processes if process.returncode is None]
        for process in alive[count:]:
            await end(process)
        workers = [*alive[:count], *[await self.start() for _ in range(count - len(alive))]]
        await self.settled(*workers)
        return workers

    async def settled(self, *workers: Process, limit: float = 90) -> None:
        """Wait until just these share out all partitions."""
        everything = len(INFERENCE) * self._settings.partitions

        async def shared_out() -> bool:
            for worker in workers:
                assert worker.returncode is None, self.log()[-3000:]
            owners = await self.owners()
            return len(owners) == everything and set(owners.values()) == {worker.pid for worker in workers}

        await until(shared_out, limit)

    async def owners(self) -> dict[tuple[str, int], int]:
        """Return the process that has each partition, as the broker knows it; nothing while some are on their way."""
        described = self._admin.describe_consumer_groups([self._group], request_timeout=5)[self._group]
        try:
            group = await asyncio.wrap_future(described)
        except KafkaException:
            return {}  # nobody has joined yet
        if group.state is not ConsumerGroupState.STABLE:
            return {}
        return {
            (tp.topic, tp.partition): int(member.client_id.rpartition(":")[2])
            for member in group.members
            for tp in member.assignment.topic_partitions
        }

    async def key_of(self, worker: Process, tier: Tier) -> str:
        """Return a new key whose requests of this tier are the worker's."""
        owners = await self.owners()
        return next(key for _ in range(10_000) if owners.get(self.place(tier, key := new_id())) == worker.pid)

    def place(self, tier: Tier, key: str) -> tuple[str, int]:
        """Return the partition of requests in which a key lies."""
        return name_of(self._settings, INFERENCE[tier]), partition_of(key, self._settings.partitions)

    async def uncommitted(self, tier: Tier, key: str) -> int:
        """Return how many records of a key's partition a successor would be given."""
        place = TopicPartition(*self.place(tier, key))
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self._group, [place])])
        committed = (await asyncio.wrap_future(asked[self._group])).topic_partitions[0].offset
        latest = await asyncio.wrap_future(self._admin.list_offsets({place: OffsetSpec.latest()})[place])
        return int(latest.offset - committed)

    def log(self) -> str:
        """Return what they all logged."""
        return self._log.read_text()


async def end(worker: Process, with_signal: int = signal.SIGTERM, limit: float = 60) -> int:
    """Send a signal, wait for the end, and return the exit status."""
    worker.send_signal(with_signal)
    return await asyncio.wait_for(worker.wait(), limit)
