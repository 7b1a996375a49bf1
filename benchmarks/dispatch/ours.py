"""Barnabas, as its container images run it: a process a tier, tasks from a plain Kafka producer, ends read from `results`.

A service submits by producing to the tier's topic, and hears the end on `results`: that is what is timed. The tiers
set their own scheduling class, as they do on every machine without containers.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from redis import Redis

from backbone.ids import new_id
from backbone.kafka import HEADERS, librdkafka_config, name_of, producer_config
from backbone.presence import Present
from backbone.redis import key
from benchmarks.dispatch.handlers import TrivialHandler, WorkHandler, install
from benchmarks.dispatch.system import System
from schemas import codec, topics
from schemas.records import Status, Task, TaskEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from backbone.settings import Settings
    from barnabas.local.stack import LocalStack
    from benchmarks.dispatch.system import Worker
    from benchmarks.dispatch.work import Work
    from schemas.tiers import Tier

FAR = 4_000_000_000_000
"""A time in ms that no task lives to see: a backlog and a killed worker's tasks may wait for as long as it takes."""


class Barnabas(System):
    """Tier processes on the Kafka and Valkey of a local stack."""

    name = "Barnabas"

    def __init__(self, settings: Settings, stack: LocalStack, folder: Path) -> None:
        """Make it ready to start workers.

        Args:
            settings: the stack's; they may name other topics than its own services use.
            stack: with Kafka and Valkey.
            folder: empty, and its own.
        """
        super().__init__(folder)
        self._stack = stack
        self._settings = settings
        self._environment = {
            **os.environ,
            **stack.environment,
            "BARNABAS_TOPIC_PREFIX": settings.topic_prefix,
            "PYTHONPATH": os.pathsep.join([str(install(folder / "handlers")), *sys.path]),
        }
        self._producer = Producer(producer_config(self._settings))
        self._redis = Redis.from_url(stack.redis_url)
        self._closing = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="results")
        self._listener.start()

    def submit(self, tier: Tier, work: Work | None) -> str:
        """Produce a task; the tier's own times apply to it unless its gate or its log says that it may wait."""
        task_id = new_id()
        patient = work is None or bool(work.gate or work.log)
        task = Task(
            id=task_id,
            kind=TrivialHandler.kind if work is None else WorkHandler.kind,
            payload=b"{}" if work is None else msgspec.json.encode(work),
            start_by=FAR if patient else 0,
            deadline=FAR if patient else 0,
        )
        self._producer.produce(
            name_of(self._settings, topics.TASKS[tier]), codec.encode(task), key=task_id.encode(), headers=dict(HEADERS)
        )
        self._producer.poll(0)
        return task_id

    def submit_many(self, tier: Tier, work: Work | None, count: int) -> list[str]:
        """Produce, and wait for the acknowledgements."""
        ids = [self.submit(tier, work) for _ in range(count)]
        self._producer.flush()
        return ids

    def ready(self, tier: Tier, workers: Sequence[Worker]) -> bool:
        """Whether all say in Redis that they serve."""
        names = list(self._redis.scan_iter(key(self._settings, f"presence:streams.{tier}:*"), 1000))
        found = (
            [msgspec.json.decode(value, type=Present) for value in self._redis.mget(names) if value] if names else []
        )
        serving = {int(present.instance.rpartition(":")[2]) for present in found if present.ready}
        return serving >= {worker.pid for worker in workers}

    def charged(self) -> dict[str, list[int]]:
        """Valkey is charged to the workers: it decides the outcomes. Kafka is the broker."""
        kafka, valkey = self._stack.pid("kafka"), self._stack.pid("valkey")
        if kafka is None or valkey is None:
            raise RuntimeError("the stack's servers do not run")
        return {
            "workers": [valkey, *(worker.pid for fleet in self.workers.values() for worker in fleet)],
            "brokers": [kafka],
        }

    def command(self, tier: Tier, *, lone: bool) -> tuple[list[str], Mapping[str, str]]:
        """As in the container image; a lone one is a static member, as in the local stack."""
        instance = {"BARNABAS_GROUP_INSTANCE": f"lone-{tier}"} if lone else {}
        return [sys.executable, "-m", "streams", "--tier", tier], {**self._environment, **instance}

    def close(self) -> None:
        """End all."""
        super().close()
        self._closing.set()
        self._listener.join()
        self._redis.close()

    def _listen(self) -> None:
        """Note each task's end as it appears on `results`."""
        topic = name_of(self._settings, topics.RESULTS)
        consumer = Consumer(librdkafka_config(self._settings, group_id="benchmarks", enable_auto_commit=False))
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(self._settings.partitions)])
        while not self._closing.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            event = codec.decode(message.value(), TaskEvent)
            if event.status.terminal:
                failed = "" if event.status is Status.SUCCEEDED else f"{event.status} {event.error}"
                self.watch.note(event.task_id, failed=failed)
        consumer.close()
