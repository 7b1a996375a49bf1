"""Pure: who holds a place of the cache, and who of those runs in the next step.

    each step:   resume and admit, in order of tiers, until somebody finds no room
                 urgent finds room where others have it: the last in order is paused, or evicted where the cache is short
                 low, where it was passed over for 19 steps, has a turn in the twentieth

A paused sequence keeps its cache and just isn't scheduled; an evicted one waits again, first in its tier's line, and is
computed anew. Order is strict (tier, deadline, arrival), nobody of its tier or a lower one overtakes a sequence that was evicted, and it
stays away until another has ended, so that no two drive each other out in turns.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from inference_worker import plan
from inference_worker.kv_cache import LOW, URGENT, KvCache, reserve
from inference_worker.waiting import Line
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inference_worker.kv_cache import Bounds
    from inference_worker.runners.base import Work
    from inference_worker.scheduled import Scheduled as Request

LOW_EVERY = 20
"""Of so many steps in a row, while there is work of the low tier, at least one does some of it: 5 %."""
HEADROOM = 32
"""Tokens that a sequence must have room to grow by before it gets a place."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do.

    Attributes:
        running: sequences that are scheduled.
        paused: those that have a place and are not.
        waiting: those that have none.
        tokens: that the cache holds.
    """

    running: int
    paused: int
    waiting: int
    tokens: int


@dataclass(slots=True)
class Step:
    """What a step does.

    Attributes:
        started: those that got a place for the first time.
        works: for the runner.
        paused: those that were paused for it.
        evicted: those that lost their places for it.
    """

    started: list[Request] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    paused: list[Request] = field(default_factory=list)
    evicted: list[Request] = field(default_factory=list)


class Admission:
    """Decides; takes the time as an argument, and does no arithmetic."""

    def __init__(self, bounds: Bounds, *, budget: int, fixed: bool = False) -> None:
        """Begin without sequences.

        Args:
            bounds: what may be used.
            budget: tokens of prompts that a step takes.
            fixed: deterministic mode, see `plan`.
        """
        self._bounds = bounds
        self._budget = budget
        self._fixed = fixed
        self._cache = KvCache(bounds)
        self._lines: list[Line[Request]] = [Line() for _ in Tier]
        self._holding: list[tuple[tuple[int, int, int], Request]] = []
        self._at: dict[int, Request] = {}
        self._alarms: list[tuple[int, int, Request]] = []
        self._numbers = count(1)
        self._low_passed_over = 0
        self._room_since_eviction = True

    @property
    def load(self) -> Load:
        """How much there is to do."""
        paused = sum(one.paused for _, one in self._holding)
        waiting = sum(len(line) for line in self._lines)
        return Load(len(self._holding) - paused, paused, waiting, self._cache.used[1])

    def at(self, slot: int) -> Request:
        """Return who has a place."""
        return self._at[slot]

    def add(self, request: Request) -> None:
        """Let a sequence wait for its turn; prompt and answer must fit a place."""
        request.number = next(self._numbers)
        insort(self._alarms, _alarm(request))
        self._lines[request.rank].add(request)

    def leave(self, request: Request) -> None:
        """Let go of a sequence that ended or was taken away."""
        held = request.slot >= 0
        self._lines[request.rank].leave(request, held=held)
        if held:
            self._give_up(request)
            self._room_since_eviction = True
        del self._alarms[bisect_left(self._alarms, _alarm(request))]

    def overdue(self, now: int) -> list[Request]:
        """Return those that may run no further (ms since the epoch)."""
        due: list[Request] = []
        for at, _, request in self._alarms:
            if at > now:
                break
            due.append(request)
        return due

    def schedule(self) -> Step:
        """Decide on the next step. Its works are to be run, and then noted by `ran`, before the next one."""
        step = Step()
        turn = self._turn_of_low(step)
        self._let_in(step)
        order = [one for _, one in self._holding if one is not turn and not one.paused]
        self._plan([turn, *order] if turn else order, step)
        low_served = any(self._at[work.slot].rank == LOW for work in step.works)
        self._low_passed_over = 0 if low_served or not self._low_present else self._low_passed_over + 1
        return step

    def ran(self, works: Sequence[Work]) -> None:
        """Note that works were run."""
        for work in works:
            request = self._at[work.slot]
            request.cached += len(work.tokens)
            fresh = request.cached - request.served
            if fresh > 0:
                request.served += fresh
                self._lines[request.rank].charge(request, fresh)

    @property
    def _low_present(self) -> bool:
        return bool(self._lines[LOW]) or bool(self._holding and self._holding[-1][1].rank == LOW)

    def _turn_of_low(self, step: Step) -> Request | None:
        """Return whom of the low tier this step has to serve, giving it low's own place if none has any."""
        if self._low_passed_over < LOW_EVERY - 1:
            return None
        if holder := next((one for _, one in self._holding if one.rank == LOW), None):
            return holder
        request = self._lines[LOW].first()
        if request is None or any(self._cache.lack(LOW, _need(request), places=1)):
            return None
        self._place(request, step)
        request.paused = True  # until there is room for it in every step
        return request

    def _let_in(self, step: Step) -> None:
        for rank, line in enumerate(self._lines):
            while request := self._first_paused(rank) or line.first():
                if not self._make_room(request, step):
                    return
                if request.paused:
                    request.paused = False
                else:
                    self._place(request, step)

    def _first_paused(self, rank: int) -> Request | None:
        return next((one for _, one in self._holding if one.paused and one.rank == rank), None)

    def _make_room(self, request: Request, step: Step) -> bool:
        """Make room for a sequence to run, at the cost of those that it goes before; False, and no cost, if there is none."""
        running = [one for _, one in self._holding if not one.paused]
        lower = [one for one in running if one.rank > URGENT]
        urgent, slots = request.rank == URGENT, self._bounds.slots
        crowded = len(running) >= slots or not (urgent or len(lower) < slots - reserve(slots, request.rank))
        if crowded and not (urgent and lower):
            return False
        if not request.paused:
            if request.started and not self._room_since_eviction:
                return False
            # Urgent takes a place from whoever is lower; the others from those that only wait in theirs.
            lowest_first = (one for _, one in reversed(self._holding) if one.rank > request.rank)
            givers = (one for one in lowest_first if urgent or one.paused)
            evicted = self._givers(request.rank, _need(request), 1, givers)
            if evicted is None:
                return False
            crowded = crowded and all(one.paused for one in evicted)
            self._evict(evicted, step)
        if crowded:
            lower[-1].paused = True
            step.paused.append(lower[-1])
        return True

    def _plan(self, order: Iterable[Request], step: Step) -> None:
        budget, urgent_begins = self._budget, False
        for request in order:
            if request.slot < 0:
                continue  # evicted for one before it
            # A step is as long as its prompts: lower tiers' wait while an urgent one's is computed.
            room = 0 if urgent_begins and request.rank > URGENT else budget
            work, left = plan.work(request, room, fixed=self._fixed)
            if work is None or (work.scored and not self._grow(request, step)):
                continue
            urgent_begins |= request.rank == URGENT and left < room
            budget = left
            step.works.append(work)

    def _grow(self, request: Request, step: Step) -> bool:
        """Find room for the token that is about to be chosen; those after it give way."""
        if any(self._cache.lack(request.rank, 1)):
            givers = (one for order, one in reversed(self._holding) if order > request.order)
            evicted = self._givers(request.rank, 1, 0, givers)
            if evicted is None:
                return False
            self._evict(evicted, step)
        self._cache.grow(request)
        return True

    def _givers(self, rank: int, tokens: int, places: int, of: Iterable[Request]) -> list[Request] | None:
        """Return who of these, in this order, must give up their places so that a tier can hold more; None if all are too few."""
        books, givers = self._cache.books(), []
        lack = self._cache.lack(rank, tokens, places, books)
        for one in of:
            if not any(lack):
                break
            books.leave(one.rank, self._cache.held(one))
            less = self._cache.lack(rank, tokens, places, books)
            if less == lack:
                books.stay(one.rank, self._cache.held(one))  # what it holds is not what is short
            else:
                givers.append(one)
                lack = less
        return None if any(lack) else givers

    def _place(self, request: Request, step: Step) -> None:
        self._lines[request.rank].took(request)
        self._cache.take(request)
        self._at[request.slot] = request
        insort(self._holding, (request.order, request))
        if not request.started:
            del self._alarms[bisect_left(self._alarms, _alarm(request))]
            request.started, request.start_by = True, None
            insort(self._alarms, _alarm(request))
            step.started.append(request)

    def _evict(self, requests: Iterable[Request], step: Step) -> None:
        for request in requests:
            self._give_up(request)
            request.cached = 0
            self._lines[request.rank].interrupt(request)
            step.evicted.append(request)
            self._room_since_eviction = False

    def _give_up(self, request: Request) -> None:
        del self._at[request.slot]
        del self._holding[bisect_left(self._holding, (request.order, request))]
        request.paused = False
        self._cache.give(request)


def _need(request: Request) -> int:
    """Return for how many tokens there must be room before a sequence gets a place."""
    return request.known + min(HEADROOM, request.limit - len(request.answer))


def _alarm(request: Request) -> tuple[int, int, Request]:
    return request.alarm, request.number, request
