"""Dead letters: listed, looked at, replayed and dropped. Who does so is audited first.

What was done with a letter is a record on its topic, beside it: so it is known however often Redis is filled anew. A
replay's id follows from the letter's and how many replays there were, so two at the same moment are one task.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from backbone.clock import now_ms
from backbone.errors import BrokerUnavailableError, StepError
from backbone.ids import derived_id
from backbone.stamp import stamp
from connectors import metrics
from connectors.errors import (
    LetterDroppedError,
    LetterReplayedError,
    LetterUnknownError,
    LetterUnreplayableError,
    PayloadError,
)
from connectors.gateway import Accepted, owners_of
from connectors.letter_list import KEPT_MS
from connectors.lists import LATEST, Mark
from connectors.payloads import StepWish
from connectors.showable import read_document
from connectors.states import Change
from schemas.errors import BarnabasError
from schemas.records import DeadLetter, Resolution, Resolved
from schemas.topics import DEAD_LETTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backbone.security.audit import Audit
    from backbone.security.identity import Principal
    from backbone.settings import Settings, TierPolicy
    from connectors.gateway import Gateway
    from connectors.letter_state import LetterState, LetterStatus
    from connectors.lists import Lists
    from connectors.states import States
    from schemas.records import Task
    from schemas.tiers import Tier

_log = structlog.get_logger()

MAX_PAGE = 200
"""The most letters of a page."""
_LOOKED_AT = 2_000
"""The most letters that are looked at for a page: a filter that few pass gets a shorter one, and a cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters; times are in ms since the epoch, and without a status it is any."""

    kind: str | None = None
    code: str | None = None
    status: LetterStatus | None = None
    since: int = 0
    before: int = LATEST


@dataclass(frozen=True, slots=True)
class Page:
    """Some letters, the newest first; with a cursor there may be more, also after a page of none."""

    letters: list[LetterState]
    cursor: str | None


class Letters:
    """What can be done with dead letters."""

    def __init__(self, settings: Settings, gateway: Gateway, states: States, lists: Lists, audit: Audit) -> None:
        self._settings = settings
        self._gateway = gateway
        self._states = states
        self._lists = lists
        self._audit = audit

    async def page(self, principal: Principal, wanted: Wanted, *, limit: int, cursor: str | None = None) -> Page:
        """Return some of the caller's letters.

        Raises:
            RequestError: the cursor is none.
            StoreUnavailableError: Redis did not answer.
        """
        after = None if cursor is None else Mark.read(cursor)
        owners = owners_of(principal)
        since = max(wanted.since, now_ms() - KEPT_MS)
        found: list[LetterState] = []
        looked_at = 0
        while looked_at < _LOOKED_AT:
            marks = await self._lists.page(owners, since=since, before=wanted.before, after=after, most=MAX_PAGE)
            for mark, state in zip(marks, await self._states.letters([mark.id for mark in marks]), strict=True):
                if len(found) == limit and after is not None:
                    return Page(found, after.cursor())
                after = mark
                if state is not None and _fits(state, owners, wanted):
                    found.append(state)
            if len(marks) < MAX_PAGE:
                return Page(found, None)
            looked_at += len(marks)
        return Page(found, None if after is None else after.cursor())

    async def find(self, principal: Principal, identity: str) -> tuple[LetterState, DeadLetter]:
        """Return a letter of the caller's and its record.

        Raises:
            LetterUnknownError: there is none.
            StoreUnavailableError: Redis did not answer.
        """
        found = await self._states.letter(identity)
        if found is None or found[0].letter is None or found[0].letter.owner not in owners_of(principal):
            raise LetterUnknownError
        return found

    async def replay(self, principal: Principal, identity: str, address: str, *, once: bool = False) -> Accepted:
        """Hand a letter's task in again, as a new one that points to the letter.

        Args:
            principal: who asks for it; the task stays its owner's.
            identity: the letter's id.
            address: from where they ask.
            once: whether it is wanted only if there was no replay yet.

        Raises:
            LetterUnknownError: there is none of the caller's.
            LetterDroppedError: it was dropped.
            LetterReplayedError: it was replayed, and was to be once.
            LetterUnreplayableError: it holds no task, or one that was never filled in.
            KindUnknownError: nobody does its kind, or that of a step that follows.
            PayloadError: its payload no longer fits the kind.
            BlobMissingError, BlobChangedError: its payload was a blob, and can't be had any more.
            StoreUnavailableError: Redis did not answer; nothing was done.
            BrokerUnavailableError: Kafka is away; replay it again.
        """
        state, record = await self._undropped(principal, identity)
        if once and state.replays:
            raise LetterReplayedError(f"it was replayed before, as {state.replays[-1].task_id}")
        task = _task_of(record)
        tier = await self._check(task)
        self._gateway.need_broker()
        now, number = now_ms(), len(state.replays) + 1
        again = replay_of(identity, task, number, tier=tier, policy=self._settings.tiers[tier], now=now)
        async with self._audited(principal, address, "dead-letters.replay", identity, before=record, after=again):
            place = await self._gateway.send(again)
            await self._resolve(principal, identity, record, Resolution.REPLAYED, again.id)
        metrics.SUBMITS.labels(kind=again.kind, tier=tier, result="replayed").inc()
        return Accepted(again, place, repeated=False)

    async def drop(self, principal: Principal, identity: str, address: str) -> None:
        """Put a letter aside for good; what its replays do goes on. Arguments are those of `replay`.

        Raises:
            LetterUnknownError: there is none of the caller's.
            LetterDroppedError: it was dropped before.
            StoreUnavailableError: Redis did not answer; nothing was done.
            BrokerUnavailableError: Kafka is away; drop it again.
        """
        _, record = await self._undropped(principal, identity)
        self._gateway.need_broker()
        async with self._audited(principal, address, "dead-letters.drop", identity, before=record):
            await self._resolve(principal, identity, record, Resolution.DROPPED)

    async def _undropped(self, principal: Principal, identity: str) -> tuple[LetterState, DeadLetter]:
        state, record = await self.find(principal, identity)
        if state.dropped is not None:
            raise LetterDroppedError
        return state, record

    async def _check(self, task: Task) -> Tier:
        """Hold a task and its steps against their kinds as a submit does, and return its tier."""
        announced = await self._gateway.kinds.announced(task.kind)
        await self._gateway.payloads.recheck(task)
        for number, step in enumerate(task.then):
            field = f"then.{number}"
            wish = StepWish(kind=step.kind, payload=_document(step.payload, f"{field}.payload"), tier=step.tier)
            await self._gateway.payloads.step(wish, field)
        return task.tier or announced.tier

    async def _resolve(
        self, principal: Principal, identity: str, record: DeadLetter, how: Resolution, task_id: str | None = None
    ) -> None:
        """Write down what was done with a letter, where the letter lies."""
        now = now_ms()
        resolved = Resolved(letter_id=identity, how=how, by=principal.owner, at=now, task_id=task_id)
        told = DeadLetter(at=now, error=record.error, resolved=resolved)
        key = identity if record.task is None else record.task.key
        place = await self._gateway.produce(DEAD_LETTERS, key, told)
        await self._gateway.remember(Change(identity, told, place))

    @asynccontextmanager
    async def _audited(
        self,
        principal: Principal,
        address: str,
        action: str,
        identity: str,
        *,
        before: msgspec.Struct,
        after: msgspec.Struct | None = None,
    ) -> AsyncIterator[None]:
        """Audit what is done in the block before it is done, and that it failed if it did."""
        resource = f"dead-letters/{identity}"
        await self._audit.write(principal.owner, address, action, resource, "allowed", before=before, after=after)
        try:
            yield
        except BarnabasError as error:
            try:
                await self._audit.write(principal.owner, address, action, resource, error.code)
            except BrokerUnavailableError:
                _log.warning("letters.failure_unaudited", action=action, letter=identity, code=error.code)
            raise


def replay_of(identity: str, task: Task, number: int, *, tier: Tier, policy: TierPolicy, now: int) -> Task:
    """Return the task of a letter as it is handed in for the `number`th time after it failed.

    It is a first attempt with the times of its tier from now, and its own chain's first task. Key, owner, conversation
    and the steps that follow stay, and the chain's end if it is still ahead.
    """
    ahead = task.chain_deadline is not None and task.chain_deadline > now
    fresh = msgspec.structs.replace(
        task,
        id="",
        created_at=0,
        start_by=0,
        deadline=0,
        attempt=1,
        history=[],
        root_id="",
        parent_id=None,
        step=0,
        idempotency_key=None,
        replay_of=identity,
        chain_deadline=task.chain_deadline if ahead else None,
    )
    return stamp(fresh, task_id=derived_id(identity, "replay", number), tier=tier, policy=policy, now=now)


def _task_of(record: DeadLetter) -> Task:
    """Return the task that a letter holds.

    Raises:
        LetterUnreplayableError: there is none that could be done.
    """
    if record.task is None:
        raise LetterUnreplayableError("it holds bytes that are no task: submit what they should have been, and drop it")
    if record.error.code == StepError.code:
        raise LetterUnreplayableError(
            "its payload was never filled in, since the step before had nothing for it: submit the chain anew, and drop it"
        )
    return record.task


def _document(document: bytes, field: str) -> Any:
    try:
        return read_document(document)
    except ValueError as error:
        raise PayloadError(f"is no JSON document: {error}", field=field) from None


def _fits(state: LetterState, owners: frozenset[str], wanted: Wanted) -> bool:
    letter = state.letter
    return (
        letter is not None
        and letter.owner in owners  # an id that two owners gave is in both their lists, and is the first one's
        and wanted.kind in {None, letter.kind}
        and wanted.code in {None, letter.error.code}
        and wanted.status in {None, state.status}
    )
