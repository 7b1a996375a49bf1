"""The consumer of requests, on a thread of its own: messages, assignments and revocations go to the event loop.

A group of the new protocol (KIP-848) where the broker has it, which moves a partition without stopping the others; of
the classic protocol, cooperative, where it hasn't. Commits carry, as metadata, where in the token log a successor has
to begin reading. The thread waits until the loop took what it was handed: so whoever pauses a partition gets no more of
it than was on its way, and all that came before a revocation is taken before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from backbone.kafka import MEMBERSHIP, librdkafka_config, name_of
from backbone.presence import instance_name
from inference_worker.partition import AT_ONCE, RequestPartition
from schemas.topics import INFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backbone.settings import Settings

_log = structlog.get_logger()
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 10
_KIP_848 = {
    "group_protocol": "consumer",
    # Kafka's other one (`uniform`) balances the sum: of two workers it gives one all that is urgent, and one all that is
    # low. This one shares out each tier, and who has a number has it of each tier: one reader a partition of tokens.
    "group_remote_assignor": "range",
}
_CLASSIC = {
    "group_protocol": "classic",
    "partition_assignment_strategy": "cooperative-sticky",
    **MEMBERSHIP,
}


class Message(NamedTuple):
    """A record of a request topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


Commit = tuple[int, int]
"""Where a successor begins in the partition of requests, and where in that of tokens."""


class Listener(Protocol):
    """Who hears of it; all on the event loop."""

    async def assigned(self, floors: Mapping[RequestPartition, int | None]) -> None:
        """Partitions came, each with where the token log has to be read from, if a commit says so."""

    async def revoked(self, partitions: list[RequestPartition]) -> dict[RequestPartition, Commit]:
        """Partitions go: stop working on them, and return what is to be committed."""

    def received(self, message: Message) -> None:
        """A message came."""

    def uncommitted(self, partitions: list[RequestPartition]) -> None:
        """A commit of these failed: what it said is to be said again."""


class Intake:
    """Consumes the requests of all tiers."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._commands: deque[tuple[str, Callable[[Consumer], object]]] = deque()
        self._polled: list[Message] = []
        self._consumer = self._connect(classic=False)
        self._new_protocol_unproven = True
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self.crashed: asyncio.Future[BaseException] = self._loop.create_future()
        """Done when no more will come although nobody asked for that, with why."""

    def _connect(self, *, classic: bool) -> Consumer:
        protocol = _CLASSIC if classic else _KIP_848
        config = librdkafka_config(
            self._settings,
            group_id=f"{self._settings.topic_prefix}inference_worker",
            # The name in claims and events: who describes the group sees which worker has what.
            client_id=instance_name(),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # Little is fetched ahead of what runs, and a message is handed over as soon as it is there.
            queued_min_messages=1000,
            fetch_wait_max_ms=100,
            **protocol,
        )
        return Consumer(config | {"on_commit": self._committed}, logger=None)

    def start(self) -> None:
        """Join the group."""
        self._subscribe()
        self._thread.start()

    async def stop(self) -> None:
        """Hand back all partitions and leave the group."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def commit(self, commits: Mapping[RequestPartition, Commit]) -> None:
        """Commit without waiting for it."""
        offsets = _offsets(commits)
        self._do("commit", lambda consumer: consumer.commit(offsets=offsets, asynchronous=True))

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if failed := [RequestPartition(tp.topic, tp.partition) for tp in partitions if error or tp.error]:
            _log.warning("intake.uncommitted", partitions=len(failed), error=error and error.str())
            self._loop.call_soon_threadsafe(self._listener.uncommitted, failed)

    def flow(self, partition: RequestPartition, flowing: bool) -> None:
        """Pause or resume a partition."""
        target = [TopicPartition(*partition)]
        self._do("flow", lambda consumer: consumer.resume(target) if flowing else consumer.pause(target))

    def _do(self, what: str, command: Callable[[Consumer], object]) -> None:
        """Leave a command to the thread: librdkafka's binding hangs when a commit and a poll meet in two threads."""
        self._commands.append((what, command))

    def _obey(self) -> None:
        while self._commands:
            what, command = self._commands.popleft()
            try:
                command(self._consumer)
            except KafkaException as error:
                # The partition was taken away meanwhile, or the broker is: the next commit tells the same and more.
                _log.warning("intake.refused", command=what, error=error.args[0].str())

    def _subscribe(self) -> None:
        topics = [name_of(self._settings, topic) for topic in INFERENCE.values()]
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._obey()
                self._poll(_POLL_SECONDS)
                while self._polled and len(self._polled) < AT_ONCE and self._poll(0):
                    pass
                self._hand_over()
            self._consumer.close()
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: the worker must hear of it
            self._loop.call_soon_threadsafe(self.crashed.set_result, error)

    def _poll(self, seconds: float) -> bool:
        """Wait so long for the next message, and tell whether something came."""
        message = self._consumer.poll(seconds)
        if message is None:
            return False
        error = message.error()
        if error is None:
            self._polled.append(_plain(message))
        else:
            self._handle(error)
        return True

    def _hand_over(self) -> None:
        if self._polled:
            asyncio.run_coroutine_threadsafe(self._received(self._polled), self._loop).result()
            self._polled = []

    async def _received(self, messages: list[Message]) -> None:
        for message in messages:
            self._listener.received(message)

    def _handle(self, error: KafkaError) -> None:
        if error.code() != KafkaError._FATAL and not error.fatal():  # noqa: SLF001 - librdkafka's own name
            _log.warning("intake.error", error=error.str())
        elif self._new_protocol_unproven:
            # What a broker without the new protocol answers to the first heartbeat.
            _log.info("intake.classic", reason=error.str())
            self._new_protocol_unproven = False
            self._consumer.close()
            self._consumer = self._connect(classic=True)
            self._subscribe()
        else:
            raise KafkaException(error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._new_protocol_unproven = False
        self._hand_over()
        if not partitions:
            return
        committed = consumer.committed(partitions, timeout=_ANSWER_SECONDS)
        floors = {
            RequestPartition(tp.topic, tp.partition): int(tp.metadata) if tp.metadata else None for tp in committed
        }
        asyncio.run_coroutine_threadsafe(self._listener.assigned(floors), self._loop).result(_ANSWER_SECONDS)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if commits := self._let_go(partitions):
            try:
                consumer.commit(offsets=_offsets(commits), asynchronous=False)
            except KafkaException as error:
                # What is not committed is answered from the log and the outcome store by whoever comes next.
                _log.warning("intake.commit_failed", error=error.args[0].str())

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go(partitions)

    def _let_go(self, partitions: list[TopicPartition]) -> dict[RequestPartition, Commit]:
        self._hand_over()
        gone = [RequestPartition(tp.topic, tp.partition) for tp in partitions]
        return asyncio.run_coroutine_threadsafe(self._listener.revoked(gone), self._loop).result(_ANSWER_SECONDS)


def _plain(message: Any) -> Message:
    """Return librdkafka's message as a value, whose parts are there once it holds no error."""
    headers = [(name, value or b"") for name, value in message.headers() or ()]
    where = (message.topic(), message.partition(), message.offset())
    return Message(*where, message.timestamp()[1], message.key(), message.value(), headers)


def _offsets(commits: Mapping[RequestPartition, Commit]) -> list[TopicPartition]:
    return [
        TopicPartition(partition.topic, partition.number, offset, metadata=str(floor))
        for partition, (offset, floor) in commits.items()
    ]
