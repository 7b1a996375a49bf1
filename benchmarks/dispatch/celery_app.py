"""The same tasks as a Celery application, set up as its documentation advises for priority queues and safe delivery.

A worker a queue; acknowledged late, so that a crash loses nothing; a prefetch of 1, so that a worker takes what it can
run; results in Redis. The visibility timeout is what brings back a dead worker's tasks: an hour by default, here as
long as a session of Barnabas.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from backbone.kafka import SESSION_MS
from benchmarks.dispatch.work import work

VISIBILITY_SECONDS = SESSION_MS // 1000

app = Celery("barnabas-benchmarks")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.work", bind=True)  # type: ignore[untyped-decorator]  # Celery has no types
def celery_work(self: Any, cpu_ms: float, gate: str, log: str) -> None:
    """Do the work."""
    work(self.request.id, cpu_ms, gate, log)


@app.task(name="bench.trivial")  # type: ignore[untyped-decorator]  # as above
def celery_trivial() -> None:
    """Do nothing."""
