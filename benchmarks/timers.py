"""How soon timers fire after their slot: 100,000 of them, spread and all at once, on a real Kafka.

The service is a process of its own, as it is deployed. A timer's lateness is the time at which Kafka appended the task
that it made (`LogAppendTime`), less its slot: what a worker could have seen, not what the service believes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from backbone.clock import now_ms
from backbone.ids import derived_id
from backbone.kafka import librdkafka_config, name_of, producer_config
from backbone.settings import Settings
from barnabas.local.child import LEASH
from barnabas.local.ports import FREE_PORTS
from barnabas.local.stack import LocalStack
from benchmarks.measure import cpu_seconds, percentile
from benchmarks.plot import Curve, curves
from benchmarks.report import Report, Row, row, say
from schemas import codec
from schemas.records import Task, Template, Timer, TimerState
from schemas.tiers import Tier
from schemas.topics import TASKS, TIMERS, TIMERS_STATE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from schemas.topics import Topic

TEMPLATE = Template(task=Task(kind="cron.parse", tier=Tier.LOW, payload=b'{"expression": "@daily"}'))
MADE = TASKS[Tier.LOW]
AHEAD_SECONDS = 25.0
"""From when timers are produced until the first is due: longer than loading them takes."""
GOAL_MS = 1000.0
GOAL_BURST = 10_000
"""More than that at one moment is beyond two cores; it is measured without a goal."""
LOAD_SECONDS = 15.0
BURST_SECONDS = 180.0
COLOURS = ("#1b6ca8", "#5aa469", "#d35d6e", "#8e6bb0")

Samples = dict[str, list[int]]
"""How late each timer was (ms), by what was fired."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        timers: how many are loaded.
        rate: how many of them are due each second.
        seconds: for how long they fire.
        bursts: how many more are due at one moment, a burst each.
    """

    timers: int
    rate: int
    seconds: float
    bursts: tuple[int, ...]


FULL = Size(timers=100_000, rate=1000, seconds=60.0, bursts=(1_000, 10_000, 100_000))
QUICK = Size(timers=20_000, rate=1000, seconds=10.0, bursts=(1_000, 5_000))


def measure(*, quick: bool, plot: Path | None) -> Report:
    """Measure, and return what was found.

    Args:
        quick: whether fewer timers do.
        plot: an SVG file of how late how many of them were.
    """
    rows, samples = asyncio.run(_measure(QUICK if quick else FULL))
    if plot is not None:
        lines = [
            Curve(what, _distribution(late), colour)
            for (what, late), colour in zip(samples.items(), COLOURS, strict=False)
        ]
        plot.write_text(curves(lines, title="Share of timers that fired within so many ms of their slot"))
    return Report("timers", rows)


async def _measure(size: Size) -> tuple[list[Row], Samples]:
    with tempfile.TemporaryDirectory(prefix="barnabas-timers-") as folder:
        settings = Settings(home=Path(folder) / "home", **FREE_PORTS)
        async with LocalStack(settings, only=("kafka", "valkey")) as stack:
            _use_append_time(stack.settings)
            return await _fire(stack, size)


async def _fire(stack: LocalStack, size: Size) -> tuple[list[Row], Samples]:
    """Load timers that are due one after the other, let them fire, and burst others while the service runs."""
    settings = stack.settings
    say(f"{size.timers:,} timers are made, {size.rate:,} of them due each second")
    first = now_ms() + int(AHEAD_SECONDS * 1000)
    every = size.timers * 1000 // size.rate
    _make(settings, TIMERS, (_interval(n, first - every + n * 1000 // size.rate, every) for n in range(size.timers)))
    _make(settings, TIMERS_STATE, (_accounted(n, first - every) for n in range(size.timers)))
    began = time.monotonic()
    async with _service(stack) as (process, loaded):
        took, memory = loaded - began, process.memory_info().rss / 2**20
        say(f"loaded after {took:.1f} s; firing for {size.seconds:.0f} s")
        await asyncio.sleep(max(0.0, (first - now_ms()) / 1000))
        cpu = cpu_seconds([process.pid])
        await asyncio.sleep(size.seconds)
        cpu = (cpu_seconds([process.pid]) - cpu) / size.seconds
        samples = {f"{size.rate:,} a second": _steady(settings, int(size.rate * size.seconds), first)}
        for count in size.bursts:
            samples[_at_once(count)] = await _burst(settings, count)
    rows = [
        row(f"load {size.timers:,} timers, from the process's start (s)", took, at_most=LOAD_SECONDS, goal="seconds"),
        row("memory of the service with them (MiB)", memory),
        row(f"CPU of the service at {size.rate:,} a second (s a second)", cpu),
    ]
    for what, late in samples.items():
        most = None if what in {_at_once(count) for count in size.bursts if count > GOAL_BURST} else GOAL_MS
        rows += _percentiles(what, late, most)
    rows += [
        row(f"fired a second, {_at_once(count)}", count / (max(samples[_at_once(count)]) / 1000))
        for count in size.bursts
    ]
    return rows, samples


def _steady(settings: Settings, least: int, since: int) -> list[int]:
    """Return how late each timer was (ms) of those that were due one after the other."""
    late = list(_fired(settings, since).values())
    if len(late) < least * 0.99:
        raise RuntimeError(f"{len(late)} of at least {least} slots fired")
    return late


async def _burst(settings: Settings, count: int) -> list[int]:
    """Fire one-offs that are due at one moment, beside those that are due anyway; return how late each was (ms)."""
    say(f"{count:,} timers at one moment")
    moment = now_ms() + 3000 + count // 10
    _make(settings, TIMERS, (_once(count, n, moment) for n in range(count)))
    wanted = {derived_id(_once_id(count, n), moment) for n in range(count)}
    late: dict[str, int] = {}
    limit = time.monotonic() + BURST_SECONDS
    while len(late) < count:
        if time.monotonic() > limit:
            raise RuntimeError(f"{len(late)} of {count} timers fired")
        await asyncio.sleep(max(1.0, (moment - now_ms()) / 1000 + 1 + count / 5000))
        late = {task: lateness for task, lateness in _fired(settings, moment).items() if task in wanted}
    return list(late.values())


def _at_once(count: int) -> str:
    return f"{count:,} at once"


def _percentiles(what: str, late: list[int], most: float | None) -> list[Row]:
    goal = None if most is None else "within 1 s"
    return [
        row(f"{what}: p50 after the slot (ms)", percentile(late, 50)),
        row(f"{what}: p99 after the slot (ms)", percentile(late, 99), at_most=most, goal=goal),
        row(f"{what}: the last one (ms)", max(late)),
    ]


def _distribution(late: list[int]) -> list[tuple[float, float]]:
    return [(max(1.0, percentile(late, share)), share / 100) for share in range(1, 101)]


def _interval(number: int, created_at: int, every: int) -> Timer:
    return Timer(
        id=derived_id("interval", number),
        owner="ada",
        tenant="ada",
        template=TEMPLATE,
        created_at=created_at,
        every=every,
    )


def _once(burst: int, number: int, at: int) -> Timer:
    return Timer(id=_once_id(burst, number), owner="ada", tenant="ada", template=TEMPLATE, created_at=now_ms(), at=at)


def _once_id(burst: int, number: int) -> str:
    return derived_id("once", burst, number)


def _accounted(number: int, slot: int) -> TimerState:
    return TimerState(id=derived_id("interval", number), last_slot=slot, revision=1)


def _make(settings: Settings, topic: Topic, records: Iterable[Timer | TimerState]) -> None:
    producer = Producer({**producer_config(settings), "linger.ms": 20, "queue.buffering.max.messages": 500_000})
    for record in records:
        producer.produce(name_of(settings, topic), codec.encode(record), key=record.id)
    producer.flush()


def _use_append_time(settings: Settings) -> None:
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name_of(settings, MADE), incremental_configs=[entry])
    admin = AdminClient(librdkafka_config(settings))  # held, for what it was asked ends with it
    for done in admin.incremental_alter_configs([resource]).values():
        done.result()


def _fired(settings: Settings, since: int) -> dict[str, int]:
    """Return by their ids the tasks of the slots from then on, and how much later than its slot Kafka had each (ms)."""
    consumer = Consumer(
        librdkafka_config(settings, group_id="none", enable_auto_commit=False, enable_partition_eof=True)
    )
    name = name_of(settings, MADE)
    consumer.assign([TopicPartition(name, number, 0) for number in range(settings.partitions)])
    fired: dict[str, int] = {}
    ended = 0
    while ended < settings.partitions:
        for message in consumer.consume(10_000, timeout=1):
            if message.error():
                ended += 1
            else:
                task = codec.decode(message.value(), Task)
                if task.created_at >= since:
                    fired.setdefault(task.id, message.timestamp()[1] - task.created_at)
    consumer.close()
    return fired


@asynccontextmanager
async def _service(stack: LocalStack) -> AsyncIterator[tuple[psutil.Process, float]]:
    """Run the service's process; yield it and when it had read all timers."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid())),
        *(sys.executable, "-m", "streams", "timers"),
        env={**os.environ, **stack.environment, "BARNABAS_LOG_FORMAT": "json"},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        loaded = await _until_loaded(running)
        drain = asyncio.create_task(_pass_on(running))
        yield psutil.Process(running.pid), loaded
        drain.cancel()
    finally:
        running.terminate()
        await running.wait()


async def _until_loaded(running: asyncio.subprocess.Process) -> float:
    while running.stderr and (line := await running.stderr.readline()):
        if line.startswith(b"{") and json.loads(line).get("event") == "timers.loaded":
            return time.monotonic()
        say(line.decode().rstrip())
    raise RuntimeError("the timer service ended")


async def _pass_on(running: asyncio.subprocess.Process) -> None:
    while running.stderr and (line := await running.stderr.readline()):
        say(line.decode().rstrip())
