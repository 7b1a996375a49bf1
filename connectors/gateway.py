"""Every submit passes here, whatever protocol it came by: who is it, is it valid; then it is stamped and produced.

What was answered for is durable in Kafka. Redis only remembers: without it, submits without an idempotency key go on,
and whatever has to decide something (idempotency, cancelling) is refused for the time being.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from backbone import outcome
from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, StoreUnavailableError
from backbone.ids import derived_id, new_id
from backbone.kafka import name_of
from backbone.presence import instance_name
from backbone.security.identity import LOCAL
from backbone.stamp import DIRECT, stamp
from connectors import metrics
from connectors.errors import PayloadTooLargeError, RequestError, TaskEndedError, TaskUnknownError
from connectors.idempotency import digest_of
from connectors.state import Place, TaskState, fold
from connectors.states import Change
from schemas.errors import BarnabasError
from schemas.records import Cancel, Status, Task, TaskEvent
from schemas.topics import CANCELLATIONS, RESULTS, Topic, for_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import msgspec

    from backbone.kafka import Producer
    from backbone.outcomes import OutcomeStore
    from backbone.security.identity import ApiKeys, Principal
    from backbone.settings import Settings
    from connectors.idempotency import IdempotencyKeys
    from connectors.kinds import Kinds
    from connectors.payloads import Payloads, StepWish
    from connectors.states import States
    from schemas.tiers import Tier

    Before = Callable[[Task], Awaitable[None]]

_log = structlog.get_logger()

MAX_KEY = 256
"""The longest ordering key, idempotency key or conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What someone wants done, with a payload or the ref of one that was uploaded; `deadline` is in ms and bounds all steps."""

    kind: str
    payload: dict[str, Any] | None = None
    payload_ref: str | None = None
    tier: Tier | None = None
    ordering_key: str | None = None
    idempotency_key: str | None = None
    conversation: str | None = None
    then: tuple[StepWish, ...] = ()
    deadline: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task that is durable.

    Attributes:
        task: as it was stamped.
        place: where its record lies.
        repeated: whether it was so before this submit.
    """

    task: Task
    place: Place
    repeated: bool


def owners_of(principal: Principal) -> frozenset[str]:
    """Return the owners whose tasks a caller sees: who runs a local stack also sees what was produced straight to it."""
    return frozenset({principal.owner, DIRECT} if principal == LOCAL else {principal.owner})


class Gateway:
    """The one way in."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: ApiKeys,
        kinds: Kinds,
        payloads: Payloads,
        producer: Producer,
        broker_there: Callable[[], bool],
        states: States,
        outcomes: OutcomeStore,
        idempotency: IdempotencyKeys,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self.kinds = kinds
        self.payloads = payloads
        self._producer = producer
        self._broker_there = broker_there
        self._states = states
        self._outcomes = outcomes
        self._idempotency = idempotency
        self._worker = f"edge@{instance_name()}"

    def authenticate(self, authorization: str | None) -> Principal:
        """Return who is calling, by the value of an `Authorization` header.

        Raises:
            UnauthenticatedError: nobody that is known here.
        """
        return self._keys.authenticate(authorization)

    async def submit(self, principal: Principal, submission: Submission, before: Before | None = None) -> Accepted:
        """Accept a task.

        Args:
            principal: who submits.
            submission: what.
            before: awaited with the stamped task before anybody else can know of it.

        Raises:
            RequestError: both a conversation and another ordering key were given.
            KindUnknownError: nobody does this kind.
            PayloadError: the payload does not fit the kind.
            PayloadTooLargeError: it is larger than a blob may be, or those of its steps than a record.
            BlobMissingError, BlobChangedError: the upload that was named can't be had.
            IdempotencyConflictError: the idempotency key was used for another request.
            BrokerUnavailableError: Kafka is away; nothing was accepted.
            StoreUnavailableError: Redis is away, and an idempotency key needs it, or the blob store is, and a large payload
                does; nothing was accepted.
        """
        result = "refused"
        tier = submission.tier
        kind = "unknown"
        try:
            if submission.conversation is not None and submission.ordering_key not in {None, submission.conversation}:
                raise RequestError(
                    "a conversation is the ordering key of its tasks: leave it out", field="ordering_key"
                )
            announced = await self.kinds.announced(submission.kind)
            kind, tier = announced.kind, tier or announced.tier
            then = [await self.payloads.step(wish, f"then.{place}") for place, wish in enumerate(submission.then)]
            if sum(len(step.payload) for step in then) > self._settings.max_payload_bytes // 2:
                raise PayloadTooLargeError(
                    f"the steps' payloads have more than {self._settings.max_payload_bytes // 2} bytes together",
                    field="then",
                )
            carried = await self.payloads.carry(
                principal.owner, submission.kind, submission.payload, submission.payload_ref
            )
            task = Task(
                kind=submission.kind,
                tier=tier,
                owner=principal.owner,
                tenant=principal.tenant,
                payload=carried.payload,
                payload_ref=carried.payload_ref,
                idempotency_key=submission.idempotency_key,
                conversation=submission.conversation,
                then=then,
                chain_deadline=submission.deadline,
            )
            accepted = await self._accept(submission, task, tier, before)
            result = "repeated" if accepted.repeated else "accepted"
        except BarnabasError as error:
            result = error.code
            raise
        finally:
            metrics.SUBMITS.labels(kind=kind, tier=tier or "none", result=result).inc()
        return accepted

    async def _accept(self, submission: Submission, task: Task, tier: Tier, before: Before | None) -> Accepted:
        self.need_broker()

        def stamped(task_id: str, now: int) -> Task:
            policy, key = self._settings.tiers[tier], submission.ordering_key
            return stamp(task, task_id=task_id, tier=tier, policy=policy, now=now, key=key)

        if submission.idempotency_key is None:
            new = stamped(new_id(), now_ms())
            if before is not None:
                await before(new)
            return Accepted(new, await self.send(new), repeated=False)
        task_id = derived_id(task.owner, submission.idempotency_key)
        async with self._idempotency.turn(task_id):
            entry = await self._idempotency.claim(task_id, digest_of(submission, tier), now_ms())
            same = stamped(task_id, entry.created_at)
            if before is not None:
                await before(same)
            if entry.place is not None:
                return Accepted(same, entry.place, repeated=True)
            place = await self.send(same)
            try:
                await self._idempotency.complete(task_id, entry, place)
            except StoreUnavailableError:
                _log.warning("gateway.receipt_unkept", task=task_id)
            return Accepted(same, place, repeated=False)

    async def send(self, task: Task) -> Place:
        """Make a stamped task durable, and return where it lies.

        Raises:
            BrokerUnavailableError: it was not acknowledged in time.
        """
        place = await self.produce(for_task(task), task.key, task)
        await self.remember(Change(task.id, task, place))
        return place

    async def find(self, principal: Principal, task_id: str) -> TaskState:
        """Return what is known of a task of the caller's.

        Raises:
            TaskUnknownError: there is none.
            StoreUnavailableError: Redis did not answer.
        """
        state = await self._states.task(task_id)
        if state is None or state.about.owner not in owners_of(principal):
            raise TaskUnknownError
        return state

    async def cancel(self, principal: Principal, task_id: str) -> TaskState:
        """Cancel a task, whether it waits or runs, or the step of its chain that does; return the state after that.

        Raises:
            TaskUnknownError: there is none of the caller's.
            TaskEndedError: it has ended.
            StoreUnavailableError: Redis did not answer; nothing was cancelled.
            BrokerUnavailableError: Kafka did not answer; cancel it again.
        """
        state = await self.find(principal, task_id)
        if state.end is not None and state.end.event.next_id is None:
            raise TaskEndedError(f"it ended as {state.end.event.status}")
        self.need_broker()
        end = await self._cancel(state.task())
        step = state if end.task_id == task_id else await self._states.task(end.task_id)
        if step is not None and step.end is not None:
            raise TaskEndedError(f"it ended as {step.end.event.status}")
        place = await self.produce(RESULTS, end.key, end)
        cancel = Cancel(task_id=end.task_id, by=principal.owner, at=end.at)
        await self.produce(CANCELLATIONS, end.key, cancel)
        await self.remember(Change(end.task_id, end, place))
        return fold(step, end, place)

    async def _cancel(self, task: Task) -> TaskEvent:
        """Settle a task's end as cancelled, or that of the step of its chain that is not over, and return that end."""
        while True:
            mine = outcome.ended(task, Status.CANCELLED, now=now_ms(), worker=self._worker)
            _, records = await self._outcomes.settle(mine)
            # An earlier cancel may have won and then not reached Kafka: so the winner's records are produced, not ours.
            end = next(out.record for out in records if isinstance(out.record, TaskEvent))
            if end.status is Status.CANCELLED:
                return end
            following = outcome.successor(records)
            if following is None:
                raise TaskEndedError(f"it ended as {end.status}")
            task = following

    def need_broker(self) -> None:
        """Refuse at once what can't be made durable now.

        Raises:
            BrokerUnavailableError: Kafka is away.
        """
        if not self._broker_there():
            raise BrokerUnavailableError

    async def produce(self, topic: Topic, key: str, record: msgspec.Struct | None) -> Place:
        """Make a record durable, and return where it lies.

        Raises:
            BrokerUnavailableError: it was not acknowledged in time.
        """
        partition, offset = await self._producer.send(topic, key, record)
        return Place(name_of(self._settings, topic), partition, offset)

    async def remember(self, change: Change) -> None:
        """Fold a record that is durable at once, so that whoever wrote it reads it; else the projection does later."""
        try:
            await self._states.apply([change])
        except StoreUnavailableError:
            _log.warning("gateway.unremembered", of=change.of)
