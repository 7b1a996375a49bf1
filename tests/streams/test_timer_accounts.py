"""Whatever happens to the service, each slot ends as one Fire: with the clock, and every crash, as an argument.

The real book, steps and waves write to a log in memory. A life of the service ends with a write that is lost, or durable
but not acknowledged, or that a stopped process makes only after its successor has gone on.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from backbone import slots
from backbone.ids import derived_id
from backbone.settings import TierTable
from connectors.state import Fired, accounted
from schemas.records import FireOutcome, Misfire, Task, Template, Timer
from schemas.tiers import Tier
from schemas.topics import TASKS, TIMERS, TIMERS_FIRED, TIMERS_STATE
from streams import timer_waves
from streams.timer_book import TimerBook
from streams.timer_ownership import Ownership
from streams.timer_waves import DECIDING_SECONDS, Waves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.topics import Topic
    from streams.bulk import Write

START = 1_800_000_000_000
EVERY = 10_000
SLOTS = 200


class _Died(Exception):  # noqa: N818 - no error, the end of a process
    """The process is no more."""


@dataclass
class _Log:
    """Kafka, and how the process ends that writes to it."""

    writes: list[Write] = field(default_factory=list)
    left: int | None = None
    """Writes until the process dies."""
    last_words: str = "lost"
    late: list[Write] = field(default_factory=list)
    """What stopped processes are still to write."""
    told: dict[Topic, Callable[[], object]] = field(default_factory=dict)
    """What happens as a topic is written to, once."""

    async def send_all(self, writes: Sequence[Write]) -> list[bool]:
        for write in writes:
            if self.left == 0:
                if self.last_words == "durable":
                    self.writes.append(write)
                elif self.last_words == "late":
                    self.late.append(write)
                raise _Died
            self.left = None if self.left is None else self.left - 1
            self.writes.append(write)
            self.told.pop(write.topic, lambda: None)()
        return [True] * len(writes)

    def of(self, *topics) -> list[Write]:
        return [write for write in self.writes if write.topic in topics]


@dataclass
class _Group:
    """A group that has this member."""

    meanwhile: Callable[[], object] = field(default=lambda: None)

    async def commit(self, offsets) -> None:
        """Accept it."""
        self.meanwhile()


class _World:
    """A timer, its log, the clock, and the service's lives one after another."""

    def __init__(self, timer: Timer) -> None:
        self.timer = timer
        self.log = _Log()
        self.group = _Group()
        self.now = START
        self.put(timer)
        self._live()

    def put(self, timer: Timer) -> None:
        self.timer = timer
        self.log.writes.append(_write_of(timer))

    def change(self, **fields) -> None:
        """Make a new revision; the running service reads it."""
        self.put(msgspec.structs.replace(self.timer, revision=self.timer.revision + 1, **fields))
        self._book.put(0, self.timer)

    def _live(self) -> None:
        """Start the service: it reads the log from the beginning."""
        self._book = TimerBook()
        self._book.loading(0)
        for write in self.log.of(TIMERS_STATE):
            if write.record is None:
                self._book.forget_state(0, write.key)
            else:
                self._book.restore(0, write.record)
        for write in self.log.of(TIMERS):
            if write.record is None:
                self._book.remove(0, write.key)
            else:
                self._book.put(0, write.record)
        self._book.loaded(0)
        self._waves = Waves(self._book, self.log, Ownership(self.group, "timers"), TierTable(), lambda: self.now)

    async def fire(self) -> None:
        """Fire what is due; a service that dies of it has a successor, which begins with the next call."""
        while due := self._book.take(self.now, 500):
            try:
                await self._waves._wave(due)
            except _Died:
                self.log.left = None
                self._live()
                return
        self.log.writes += self.log.late
        self.log.late = []

    def account(self) -> dict[int, FireOutcome]:
        """Return each slot that is accounted for, as readers keep it."""
        fires = [Fired(place, write.record) for place, write in enumerate(self.log.of(TIMERS_FIRED))]
        told: dict[int, FireOutcome] = {}
        count = 0
        for fire in accounted(fires):
            count += fire.count
            for slot in range(fire.slot, (fire.to_slot or fire.slot) + 1, self.timer.every or 1):
                told.setdefault(slot, fire.outcome)
        assert count == len(told)
        return told


def _write_of(timer: Timer):
    from streams.bulk import Write

    return Write(TIMERS, timer.id, timer)


def _timer(**fields) -> Timer:
    template = Template(task=Task(kind="cron.parse", tier=Tier.LOW))
    return Timer(**{"id": "t", "owner": "ada", "tenant": "ada", "created_at": START, "template": template, **fields})


WAYS = ["lost", "durable", "late"]
events = st.one_of(
    st.tuples(st.just("pass"), st.integers(1, 3 * EVERY)),
    st.tuples(st.just("away"), st.integers(1, 40 * EVERY)),
    st.tuples(st.just("set back"), st.integers(1, 20 * EVERY)),
    st.tuples(st.just("pause"), st.integers(1, 10 * EVERY)),
    *(st.tuples(st.just(way), st.integers(0, 9)) for way in WAYS),
)


@given(
    happening=st.lists(events, min_size=20, max_size=120),
    misfire=st.sampled_from(Misfire),
    limit=st.integers(1, 20),
    max_late=st.none() | st.integers(0, 10 * EVERY),
    jitter=st.sampled_from([0, 500, 3 * EVERY]),
)
def test_no_slot_is_missing_and_none_has_two_outcomes(happening, misfire, limit, max_late, jitter):
    """Goes on until 200 slots are accounted for."""

    async def live() -> _World:
        world = _World(_timer(every=EVERY, misfire=misfire, catch_up_limit=limit, max_late=max_late, jitter=jitter))
        happen = itertools.chain(happening, itertools.repeat(("pass", EVERY)))
        while world.now < START + (SLOTS + 5) * EVERY:
            what, much = next(happen)
            if what in WAYS:
                world.log.left, world.log.last_words = much, what
            elif what == "set back":
                world.now -= much
            elif what == "pause":
                world.change(enabled=False, since=world.now)
                await world.fire()
                world.now += much
                world.change(enabled=True, since=world.now)
            else:
                world.now += much
            if what != "away":
                await world.fire()
        world.log.left = None
        await world.fire()
        return world

    world = asyncio.run(live())
    told = world.account()
    assert max(told) >= START + SLOTS * EVERY
    assert sorted(told) == list(range(START + EVERY, max(told) + 1, EVERY))
    made = {write.record.id for write in world.log.of(*TASKS.values())}
    fired = {derived_id("t", slot) for slot, outcome in told.items() if outcome is not FireOutcome.SKIPPED}
    assert fired <= made
    if "late" not in {what for what, _ in happening}:
        assert made == fired  # and no skipped slot made a task


@given(way=st.sampled_from(WAYS), left=st.integers(0, 6), max_late=st.none() | st.integers(0, 100_000))
def test_a_one_off_is_fired_once_and_leaves_nothing_behind(way, left, max_late):
    async def live() -> _World:
        world = _World(_timer(at=START + EVERY, max_late=max_late))
        world.log.left, world.log.last_words = left, way
        for _ in range(3):
            world.now += EVERY
            await world.fire()
            # The service reads its own tombstone.
            if any(write.record is None for write in world.log.of(TIMERS)):
                world._book.remove(0, "t")
                await world.fire()
        return world

    world = asyncio.run(live())
    ((slot, outcome),) = world.account().items()
    made = {write.record.id for write in world.log.of(*TASKS.values())}
    assert made == (set() if outcome is FireOutcome.SKIPPED else {derived_id("t", slot)})
    assert slot == START + EVERY
    assert world.log.of(TIMERS)[-1].record is None
    states = world.log.of(TIMERS_STATE)
    assert not states or states[-1].record is None


def test_a_one_off_that_was_resumed_after_its_moment_is_skipped():
    async def live() -> _World:
        world = _World(_timer(at=START + EVERY))
        world.change(enabled=False, since=START)
        world.now += 2 * EVERY
        await world.fire()
        assert world.account() == {}
        world.change(enabled=True, since=world.now)
        await world.fire()
        return world

    world = asyncio.run(live())
    assert world.account() == {START + EVERY: FireOutcome.SKIPPED}
    assert world.log.of(*TASKS.values()) == []
    assert world.log.of(TIMERS)[-1].record is None


def test_a_one_off_that_is_moved_while_it_is_fired_fires_again():
    """What accounts for its first moment must not remove what the second follows from."""

    async def live() -> _World:
        world = _World(_timer(at=START + EVERY))
        world.log.told[TIMERS_FIRED] = lambda: world.change(at=START + 5 * EVERY)
        world.now += EVERY
        await world.fire()
        assert world.log.of(TIMERS)[-1].record == world.timer
        world._live()  # nor must a successor have lost it
        world.now = START + 5 * EVERY
        await world.fire()
        world._book.remove(0, "t")
        await world.fire()
        return world

    world = asyncio.run(live())
    assert world.account() == {START + EVERY: FireOutcome.FIRED, START + 5 * EVERY: FireOutcome.FIRED}
    assert world.log.of(TIMERS)[-1].record is None
    assert world.log.of(TIMERS_STATE)[-1].record is None


def test_what_waited_for_the_group_to_answer_is_late():
    """The group's broker was away: a slot that was on time as it was asked is not when it answers."""

    async def live() -> _World:
        world = _World(_timer(at=START + EVERY))
        world.group.meanwhile = lambda: setattr(world, "now", START + 4 * EVERY)
        world.now += EVERY
        await world.fire()
        return world

    world = asyncio.run(live())
    assert world.account() == {START + EVERY: FireOutcome.LATE}
    (fire,) = [write.record for write in world.log.of(TIMERS_FIRED)]
    assert fire.late_by == 3 * EVERY


def test_timers_that_missed_a_lot_hold_up_none_that_is_on_time(monkeypatch):
    """To decide takes its time: what was decided is written, and others have their turn, before more is decided."""
    decided, written = [], []
    ticks = itertools.count()
    monkeypatch.setattr(
        timer_waves,
        "time",
        SimpleNamespace(monotonic=time.monotonic, thread_time=lambda: next(ticks) * DECIDING_SECONDS / 4),
    )
    decide = slots.decide
    monkeypatch.setattr(slots, "decide", lambda timer, *rest: decided.append(timer.id) or decide(timer, *rest))

    async def live() -> _World:
        world = _World(_timer(every=EVERY))
        for number in range(20):
            world._book.put(0, _timer(every=EVERY, id=f"behind {number}"))
        world.now += 500 * EVERY
        world._book.put(0, _timer(at=world.now, id="on time"))
        world.log.told[TIMERS_FIRED] = lambda: written.append(len(decided))
        await world.fire()
        return world

    world = asyncio.run(live())
    assert decided[0] == "on time"
    assert written[0] < 5
    assert len({write.key for write in world.log.of(TIMERS_FIRED)}) == 22


def test_a_faulty_timer_is_put_aside_and_the_others_fire(monkeypatch):
    """A fault of ours in one timer's arithmetic holds up no other."""
    decide = slots.decide
    monkeypatch.setattr(slots, "decide", lambda timer, *rest: 1 / 0 if timer.id == "faulty" else decide(timer, *rest))

    async def live() -> _World:
        world = _World(_timer(at=START + EVERY))
        world._book.put(0, msgspec.structs.replace(world.timer, id="faulty"))
        world.now += EVERY
        await world.fire()
        return world

    assert asyncio.run(live()).account() == {START + EVERY: FireOutcome.FIRED}
