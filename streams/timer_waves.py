"""Fires timers in waves: those that are due together go through their writes together.

A write costs a round trip to Kafka, whether for one timer or for five hundred, so timers share it. A wave decides for
some of its timers at a time, and goes on with these in rounds, one step of each a round; a timer that is done, or can't go
on, leaves the wave. What is not accounted for when it leaves stays due.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from backbone.errors import BrokerUnavailableError
from backbone.slots import LATE_MS
from schemas.topics import TIMERS_STATE
from streams.timer_steps import Writes, accounted, forget, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.settings import TierTable
    from schemas.records import Timer
    from streams.bulk import BulkProducer, Write
    from streams.timer_book import Entry, TimerBook
    from streams.timer_ownership import Ownership
    from streams.timer_steps import Step

_log = structlog.get_logger()

TOGETHER = 500
"""The most timers of a wave."""
WAVES = 8
"""The most waves at the same time."""
TICK_SECONDS = 0.01
"""Timers that are due within it share a wave."""
CLOCK_SECONDS = 0.5
"""How long the clock is trusted: it may be set, and a machine may sleep."""
AWAY_SECONDS = 0.5
"""Pause before what Kafka or the group refused is tried again."""
HOLD_SECONDS = 5.0
"""How long a wave may take to end where it should; what it leaves is done by a successor."""
DECIDING_SECONDS = 0.1
"""CPU time after which what was decided is written: what many timers missed in a day takes longer than the group waits."""
FAULT_SECONDS = 10.0
"""Pause before a timer is tried again that a fault of ours keeps from being fired: no hot loop."""


class _Firing(NamedTuple):
    """A timer in a wave, as it was when it was taken."""

    entry: Entry
    timer: Timer | None
    steps: list[Step]


class Waves:
    """Takes what is due from the book, and fires it."""

    def __init__(
        self,
        book: TimerBook,
        producer: BulkProducer,
        ownership: Ownership,
        tiers: TierTable,
        now: Callable[[], int],
    ) -> None:
        self._book = book
        self._producer = producer
        self._ownership = ownership
        self._tiers = tiers
        self._now = now
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._open = True

    def changed(self) -> None:
        """Say that something may be due earlier than it was."""
        self._changed.set()

    async def run(self) -> None:
        """Fire what is due, for ever.

        Raises:
            BrokerUnavailableError: the producer can't go on.
        """
        while True:
            self._changed.clear()
            while self._may_take() and (due := self._book.take(self._now(), TOGETHER)):
                self._running.add(asyncio.create_task(self._wave(due)))
                await asyncio.sleep(0)
            for wave in [wave for wave in self._running if wave.done()]:
                self._running.discard(wave)
                if not wave.cancelled():
                    wave.result()
            await asyncio.sleep(TICK_SECONDS)
            await self._wait()

    async def hold(self) -> None:
        """Let what is being written be written, as far as Kafka lets us, and fire nothing more until `go_on`."""
        self._open = False
        if self._running:
            _, unfinished = await asyncio.wait(self._running, timeout=HOLD_SECONDS)
            for wave in unfinished:
                wave.cancel()

    def go_on(self) -> None:
        """Fire again."""
        self._open = True
        self._changed.set()

    def _may_take(self) -> bool:
        return self._open and len(self._running) < WAVES

    async def _wait(self) -> None:
        """Until the next timer is due, a wave ends or something changes."""
        due = self._book.next_due() if self._may_take() else None
        seconds = CLOCK_SECONDS if due is None else min(CLOCK_SECONDS, max(0.0, (due - self._now()) / 1000))
        if seconds > 0:
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait({changed, *self._running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()

    async def _wave(self, entries: list[Entry]) -> None:
        """Fire these, given by when they are due: the latest first, since what is on time has no time to lose."""
        waiting = await self._ours(entries)
        while waiting:
            await self._fire(self._decide_some(waiting))
            if not self._open:
                for entry in waiting:
                    self._book.give_back(entry)
                break
        self._changed.set()

    def _decide_some(self, waiting: list[Entry]) -> list[_Firing]:
        """Take timers from the end of those that wait, and decide for them."""
        began = time.thread_time()
        decided = []
        while waiting and time.thread_time() - began < DECIDING_SECONDS:
            firing = self._decide(waiting.pop())
            if firing is not None:
                decided.append(firing)
        return decided

    async def _fire(self, wave: list[_Firing]) -> None:
        began = time.monotonic()
        turn = 0
        while wave:
            for stage in Writes._fields:
                wave = await self._write(wave, turn, stage)
            turn += 1
            # What was decided a while ago is decided anew.
            over = not self._open or time.monotonic() - began > LATE_MS / 1000
            for firing in wave:
                done = len(firing.steps) == turn
                if over or done or firing.entry.timer is not firing.timer:
                    self._book.give_back(firing.entry)
            wave = [firing for firing in wave if firing.entry.busy]

    def _decide(self, entry: Entry) -> _Firing | None:
        """Return what is to be done of a timer; None puts it aside."""
        timer = entry.timer
        if timer is None:
            return _Firing(entry, None, [forget(entry.id)])
        try:
            steps = steps_of(timer, entry.after, entry.firing, self._tiers, self._now())
        except Exception:  # noqa: BLE001 - a fault of ours; the other timers go on
            _log.exception("timer.fault", timer=entry.id)
            self._put_aside(entry, FAULT_SECONDS)
            return None
        if not steps:  # the clock was set back since it was taken
            self._book.give_back(entry)
            return None
        return _Firing(entry, timer, steps)

    async def _ours(self, entries: list[Entry]) -> list[Entry]:
        """Return those whose partitions are ours; where that is in doubt, or the slot is past, the group is asked."""
        past = self._now() - LATE_MS
        doubtful = {
            entry.partition for entry in entries if entry.planned < past or not self._ownership.is_sure(entry.partition)
        }
        if not doubtful or await self._ownership.ask(doubtful):
            return entries
        for entry in entries:
            if entry.partition in doubtful:
                self._put_aside(entry, AWAY_SECONDS)
        return [entry for entry in entries if entry.partition not in doubtful]

    async def _write(self, wave: list[_Firing], turn: int, stage: str) -> list[_Firing]:
        """Write one record of each timer of the wave, and return those that can go on."""
        ours = []
        for firing in wave:
            if self._ownership.is_sure(firing.entry.partition):
                ours.append(firing)
            else:  # this process was stopped meanwhile, or the partition was taken away
                self._put_aside(firing.entry, AWAY_SECONDS)
        writing = [(firing, write) for firing in ours if (write := self._write_of(firing, turn, stage)) is not None]
        if not writing:
            return ours
        try:
            durable = await self._producer.send_all([write for _, write in writing])
        except BrokerUnavailableError:
            for firing in ours:
                self._book.give_back(firing.entry)
            raise
        failed = set()
        for (firing, write), is_durable in zip(writing, durable, strict=True):
            if is_durable:
                self._note(firing, turn, stage, write)
            else:
                failed.add(firing.entry)
                self._put_aside(firing.entry, AWAY_SECONDS)
        if failed:  # Kafka was away, maybe for longer than the group waits for a member
            self._ownership.doubt()
        return [firing for firing in ours if firing.entry not in failed]

    @staticmethod
    def _write_of(firing: _Firing, turn: int, stage: str) -> Write | None:
        step = firing.steps[turn]
        if stage == "account" and firing.entry.timer is not firing.timer:
            return accounted(step, firing.entry.timer)
        write: Write | None = getattr(step.writes, stage)
        return write

    @staticmethod
    def _note(firing: _Firing, turn: int, stage: str, write: Write) -> None:
        """Note in the book what is durable now."""
        entry, step = firing.entry, firing.steps[turn]
        if stage == "decision":
            entry.firing, entry.stored = step.fire, True
        elif stage == "account":
            entry.last, entry.firing = step.last, None
            # A one-off is accounted for by its removal; what its state says is forgotten when that is read.
            if write.topic is TIMERS_STATE:
                entry.stored = write.record is not None

    def _put_aside(self, entry: Entry, seconds: float) -> None:
        def again() -> None:
            self._book.give_back(entry)
            self._changed.set()

        asyncio.get_running_loop().call_later(seconds, again)
