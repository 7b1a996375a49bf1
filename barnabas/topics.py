"""The topics as Kafka has them: what the table of `schemas` says, what is in them, and how far each group is behind."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from backbone.kafka import librdkafka_config, name_of
from barnabas.errors import NoStackError
from barnabas.local.home import Home
from schemas import topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backbone.settings import Settings

TIMEOUT = 10.0


class TopicState(msgspec.Struct, frozen=True):
    """A topic as it is.

    Attributes:
        name: with the prefix.
        record: what its values are.
        cleanup: `compact`, or how long records stay, such as `7 d`.
        partitions: how many there are; 0 if the topic is missing.
        end_offsets: the sum of the partitions' ends: how many records were ever written.
        kept: how many offsets lie between the partitions' beginnings and ends.
        lag: records that each group has yet to commit, by group.
    """

    name: str
    record: str
    cleanup: str
    partitions: int
    end_offsets: int
    kept: int
    lag: dict[str, int]


Offsets = dict[tuple[str, int], int]


def where(settings: Settings) -> Settings:
    """Return the settings with Kafka where the stack that runs in the home has it."""
    running = Home(settings.home).read_running()
    return settings.model_copy(update={"kafka_bootstrap": running.kafka_bootstrap}) if running else settings


def read(settings: Settings) -> list[TopicState]:
    """Return each topic of the table as the broker has it.

    Raises:
        NoStackError: no broker answers.
    """
    admin = AdminClient({**librdkafka_config(settings), "log_level": 0})  # the error says it all
    try:
        found = admin.list_topics(timeout=TIMEOUT).topics
        names = [name_of(settings, topic) for topic in topics.ALL]
        places = [(name, partition) for name in names if name in found for partition in found[name].partitions]
        begin = _offsets(admin, places, OffsetSpec.earliest())
        end = _offsets(admin, places, OffsetSpec.latest())
        committed = _committed(admin)
    except KafkaException as error:
        raise NoStackError(
            f"no broker answers at {settings.kafka_bootstrap} ({error.args[0].str()}): start one with `barnabas up`"
        ) from error
    return [_state(topic, name_of(settings, topic), begin, end, committed) for topic in topics.ALL]


def lag(end: Offsets, begin: Offsets, committed: Offsets) -> int:
    """Return how many records a group has yet to commit, over the partitions that it has committed in.

    What was deleted before the group came to it is not counted.
    """
    return sum(
        max(0, end[place] - max(offset, begin.get(place, 0))) for place, offset in committed.items() if place in end
    )


def cleanup_of(topic: topics.Topic) -> str:
    """Return how a topic is kept, in words."""
    return "compact" if topic.retention is None else f"{topic.retention.days} d"


def _state(
    topic: topics.Topic, name: str, begin: Offsets, end: Offsets, committed: Mapping[str, Offsets]
) -> TopicState:
    ends = {place: offset for place, offset in end.items() if place[0] == name}
    mine = {
        group: {place: offset for place, offset in offsets.items() if place[0] == name}
        for group, offsets in committed.items()
    }
    return TopicState(
        name=name,
        record=topic.record.__name__,
        cleanup=cleanup_of(topic),
        partitions=len(ends),
        end_offsets=sum(ends.values()),
        kept=sum(offset - begin[place] for place, offset in ends.items()),
        lag={group: lag(ends, begin, offsets) for group, offsets in sorted(mine.items()) if offsets},
    )


def _offsets(admin: AdminClient, places: Iterable[tuple[str, int]], spec: OffsetSpec) -> Offsets:
    asked = {TopicPartition(name, partition): spec for name, partition in places}
    if not asked:
        return {}
    answers = admin.list_offsets(asked, request_timeout=TIMEOUT)
    return {(place.topic, place.partition): future.result().offset for place, future in answers.items()}


def _committed(admin: AdminClient) -> dict[str, Offsets]:
    """Return what each group has committed."""
    groups = [group.group_id for group in admin.list_consumer_groups(request_timeout=TIMEOUT).result().valid]
    found: dict[str, Offsets] = defaultdict(dict)
    for group in groups:
        asked = [ConsumerGroupTopicPartitions(group)]
        for future in admin.list_consumer_group_offsets(asked, request_timeout=TIMEOUT).values():
            for place in future.result().topic_partitions:
                if place.offset >= 0:
                    found[group][place.topic, place.partition] = place.offset
    return found
