"""What tests of the timer service share: timers, and what became of their slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from backbone.clock import now_ms
from backbone.ids import derived_id, new_id
from backbone.kafka import aiokafka_config, name_of
from connectors.state import Fired, accounted
from schemas import codec
from schemas.records import FireOutcome, Task, Template, Timer
from schemas.tiers import Tier
from schemas.topics import TASKS, TIMERS_FIRED, Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backbone.settings import Settings
    from schemas.records import Fire

SLOTS = 200


def timer(**fields) -> Timer:
    """Return a timer that makes a quick task."""
    task = Task(kind="cron.parse", tier=Tier.LOW, payload=b'{"expression":"@daily"}')
    defaults = {"id": new_id(), "owner": "ada", "tenant": "ada", "created_at": now_ms()}
    return Timer(**{**defaults, "template": Template(task=task), **fields})


def of(identity: str, count: int = 1) -> Callable[[list[Fire]], bool]:
    """Tell whether there are as many Fires of a timer."""
    return lambda fires: sum(fire.timer_id == identity for fire in fires) >= count


def reached(timers: Iterable[Timer], slot: int) -> Callable[[list[Fire]], bool]:
    """Tell whether all of these timers are accounted for up to a slot."""
    wanted = {one.id for one in timers}
    return lambda fires: wanted <= {fire.timer_id for fire in fires if (fire.to_slot or fire.slot) >= slot}


async def whole(settings: Settings, topic: Topic) -> list[tuple[str, Any]]:
    """Return all of a topic as (key, record), in order within each key; the record of a tombstone is None."""
    consumer = AIOKafkaConsumer(
        **aiokafka_config(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(name_of(settings, topic), number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[str, Any]] = []
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for messages in (await consumer.getmany(timeout_ms=100)).values():
                found += [
                    (m.key.decode(), None if m.value is None else codec.decode(m.value, topic.record, m.headers))
                    for m in messages
                ]
        return found
    finally:
        await consumer.stop()


async def held_against(settings: Settings, *timers: Timer) -> list[dict[int, FireOutcome]]:
    """Return what became of each slot of each interval, once nothing writes any more.

    As readers keep the Fires, none is missing and none has two outcomes; and there are just the tasks that they tell of.
    """
    fires = [fire for _, fire in await whole(settings, TIMERS_FIRED)]
    became = [_outcomes(fires, one) for one in timers]
    made = {task.id for _, task in await whole(settings, TASKS[Tier.LOW])}
    told = {
        derived_id(one.id, slot)
        for one, slots in zip(timers, became, strict=True)
        for slot, outcome in slots.items()
        if outcome is not FireOutcome.SKIPPED
    }
    others = {fire.task_id for fire in fires if fire.timer_id not in {one.id for one in timers}}
    assert made - others == told
    return became


def _outcomes(fires: Iterable[Fire], often: Timer) -> dict[int, FireOutcome]:
    told = accounted(Fired(place, fire) for place, fire in enumerate(fires) if fire.timer_id == often.id)
    became = [
        (slot, fire.outcome) for fire in told for slot in range(fire.slot, (fire.to_slot or fire.slot) + 1, often.every)
    ]
    assert sum(fire.count for fire in told) == len(became)
    slots = sorted(slot for slot, _ in became)
    assert slots == list(range(often.created_at + often.every, slots[-1] + 1, often.every))
    return dict(became)
