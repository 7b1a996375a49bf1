"""An independent reader of the token log, by the contract alone: what counts of each request, and what is passed over.

It shares nothing with the product's own fold, and is strict: what carries the latest claim must go on exactly where the
answer stands, and nothing may follow an end.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from backbone.clock import now_ms
from schemas.records import Cancel, DeltaType, FinishReason, Status
from schemas.topics import CANCELLATIONS, RESULTS, TOKENS
from tests.inference_worker.asking import ended
from tests.support import Log, produce

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from backbone.settings import Settings
    from schemas.records import Task, TokenDelta


@dataclass
class Heard:
    """One request.

    Attributes:
        ids, text: what was said.
        workers: who claimed it, in order.
        claims: the offsets of the claims, the last one counts.
        stale: tokens that came too late, under a claim that was superseded.
        records: how many records of tokens counted.
        finish: why it ended, if it did.
        pauses: ms between the last record before a claim and the first tokens under it.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    workers: list[str] = field(default_factory=list)
    claims: list[int] = field(default_factory=list)
    stale: list[int] = field(default_factory=list)
    records: int = 0
    finish: FinishReason | None = None
    pauses: list[int] = field(default_factory=list)
    _whole: bool = False
    _latest: int = 0
    _waits: bool = False

    def take(self, offset: int, at: int, delta: TokenDelta) -> None:
        """Take the next record of the request."""
        if delta.type is DeltaType.CLAIM:
            self._whole |= self.finish is not None
            self._waits = bool(self.ids) and not self._whole
            self.claims.append(offset)
            self.workers.append(delta.worker or "")
            self.finish = None
            return
        assert self.claims, "tokens without a claim"
        if delta.claim != self.claims[-1]:
            assert delta.claim in self.claims, "a claim that nobody made"
            self.stale += delta.token_ids
            return
        assert self.finish is None, "something follows the end"
        assert delta.index == len(self.ids), f"token {delta.index} follows {len(self.ids)} tokens"
        assert not (self._whole and delta.token_ids), "an answer that had ended goes on"
        self.ids += delta.token_ids
        self.text += delta.text
        if delta.type is DeltaType.END:
            self.finish = delta.finish_reason
            return
        self.records += 1
        if self._waits:
            self.pauses.append(at - self._latest)
            self._waits = False
        self._latest = at


def hear(log: Log, task: Task) -> Heard:
    """Read one request in what was read of the token log."""
    heard = Heard()
    for place, delta in zip(log.places, log.records, strict=True):
        if delta.task_id == task.id:
            heard.take(place.offset, place.timestamp, delta)
    return heard


class Listening:
    """Both logs from now on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens = Log(settings, TOKENS)
        self.results = Log(settings, RESULTS)
        self._heard: defaultdict[str, Heard] = defaultdict(Heard)
        self._unheard: defaultdict[str, list[tuple[int, int, TokenDelta]]] = defaultdict(list)
        self._read = 0

    async def __aenter__(self) -> Self:
        await self.tokens.__aenter__()
        await self.results.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tokens.__aexit__()
        await self.results.__aexit__()

    def heard(self, task: Task) -> Heard:
        """Return what was heard of a request so far; it grows as more is read."""
        for place, delta in zip(self.tokens.places[self._read :], self.tokens.records[self._read :], strict=True):
            self._unheard[delta.task_id].append((place.offset, place.timestamp, delta))
        self._read = len(self.tokens.records)
        heard = self._heard[task.id]
        for each in self._unheard.pop(task.id, ()):
            heard.take(*each)
        return heard

    def said(self, tasks: Collection[Task]) -> list[tuple[int, ...]]:
        """Return the tokens of each that were said by now."""
        return [tuple(self.heard(task).ids) for task in tasks]

    async def until(self, tasks: Collection[Task], enough: Callable[[Heard], Any], limit: float = 60) -> None:
        """Read until enough was heard of each."""
        await self.tokens.until(lambda _: all(enough(self.heard(task)) for task in tasks), limit)

    async def cancel(self, tasks: Collection[Task]) -> None:
        """Cancel what need not come to its end, and hear that it ended: cancelled, unless it came to its end before."""
        for task in tasks:
            await produce(self.settings, CANCELLATIONS, task.key, Cancel(task_id=task.id, by="test", at=now_ms()))
        await self.until(tasks, lambda heard: heard.finish)
        ends = {self.heard(task).finish for task in tasks}
        assert FinishReason.CANCELLED in ends
        assert ends <= {FinishReason.CANCELLED, FinishReason.LENGTH, FinishReason.STOP}

    async def ends(self, tasks: Collection[Task]) -> list[Heard]:
        """Wait for the ends, and hold them against what was said."""
        await self.results.until(ended(tasks), limit=240)
        await self.until(tasks, lambda heard: heard.finish)
        heard = [self.heard(task) for task in tasks]
        for task, one in zip(tasks, heard, strict=True):
            events = [event for event in self.results.records if event.task_id == task.id and event.status.terminal]
            assert [event.status for event in events] == [Status.SUCCEEDED]
            result = json.loads(events[0].result)
            assert (result["text"], result["usage"]["completion_tokens"]) == (one.text, len(one.ids))
            assert (events[0].claim, events[0].tokens) == (one.claims[-1], len(one.ids))
        return heard
