"""A world without arithmetic for the tests of admission: every step that is scheduled runs, and its promises are watched."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference_worker.admission import LOW_EVERY, Admission, Step
from inference_worker.kv_cache import LOW, URGENT, Bounds, places_for, reserve
from inference_worker.requests import CompleteRequest
from inference_worker.sequence import Sequence
from inference_worker.text import Detokenizer, TextStream
from tests.inference_worker.test_text import TOKENIZER

HOW = CompleteRequest(prompt="x", temperature=0)
BUDGET = 16


def bounds(slots: int = 4, context: int = 64, tokens: int = 0) -> Bounds:
    places = places_for(slots)
    return Bounds(slots, places, context, max(2 * context, tokens) if tokens else places * context)


@dataclass
class World:
    """Runs sequences; after every step holds what is promised of each against it."""

    bounds: Bounds = field(default_factory=bounds)
    budget: int = BUDGET
    fixed: bool = False
    now: int = 0
    present: dict[int, Sequence] = field(default_factory=dict)
    started: list[Sequence] = field(default_factory=list)
    ended: list[Sequence] = field(default_factory=list)
    expired: list[Sequence] = field(default_factory=list)
    interruptions: list[Sequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(self.bounds, budget=self.budget, fixed=self.fixed)
        self._away: dict[int, tuple[Sequence, bool, int]] = {}
        self._without_low = 0

    def add(
        self, rank: int, prompt: int = 4, limit: int = 4, *, deadline: int = 10**6, owner: str = "", **more
    ) -> Sequence:
        request = Sequence(
            id="",
            prompt=[1] * prompt,
            how=HOW,
            seed=0,
            limit=limit,
            rank=rank,
            deadline=deadline,
            text=TextStream(Detokenizer(TOKENIZER)),
            owner=owner,
            **more,
        )
        self.admission.add(request)
        self.present[request.number] = request
        return request

    def end(self, request: Sequence) -> None:
        self.admission.leave(request)
        del self.present[request.number]
        self.ended.append(request)

    def step(self) -> Step:
        for request in self.admission.overdue(self.now):
            self.end(request)
            self.expired.append(request)
        step = self.admission.schedule()
        working = [self.admission.at(work.slot) for work in step.works]
        self._hold(step, working)
        self.admission.ran(step.works)
        for work, request in zip(step.works, working, strict=True):
            if work.scored:
                request.answer.append(1)
                if len(request.answer) == request.limit:
                    self.end(request)
        self.started += step.started
        self.now += 1
        return step

    def run(self, most: int = 5000) -> None:
        for _ in range(most):
            if not self.present:
                return
            self.step()
        raise AssertionError("it never came to an end")

    @property
    def holding(self) -> list[Sequence]:
        return [one for one in self.present.values() if one.slot >= 0]

    @property
    def running(self) -> list[Sequence]:
        return [one for one in self.holding if not one.paused]

    def _hold(self, step: Step, working: list[Sequence]) -> None:
        self._hold_bounds(step, working)
        self._hold_reserve()
        self._hold_order(step)
        self._hold_urgent()
        self._hold_low(working)
        self._hold_calm(step)
        assert working or not self.present, "there is work, and nobody does any"
        assert all(self.now < one.deadline for one in working), "past its deadline it went on"

    def _hold_bounds(self, step: Step, working: list[Sequence]) -> None:
        slots = [one.slot for one in self.holding]
        assert len(set(slots)) == len(slots) <= self.bounds.places
        assert len(self.running) <= self.bounds.slots
        assert len(step.works) <= self.bounds.slots + 1
        assert sum(one.known for one in self.holding) <= self.admission.load.tokens <= self.bounds.tokens
        assert sum(len(work.tokens) for work in step.works if len(work.tokens) > 1) <= self.budget
        assert all(work.start == one.cached for work, one in zip(step.works, working, strict=True))
        assert len({work.slot for work in step.works}) == len(step.works)

    def _hold_reserve(self) -> None:
        lower = [one for one in self.running if one.rank > URGENT]
        assert len(lower) <= self.bounds.slots - reserve(self.bounds.slots, 1)
        if not any(one.rank == 1 for one in lower):
            assert len(lower) <= self.bounds.slots - reserve(self.bounds.slots, 2)
        shared = self.bounds.tokens - self.bounds.context
        tokens = sum(one.known for one in self.holding if 0 < one.rank < LOW)
        assert tokens <= max(self.bounds.context, shared - reserve(shared, 1))
        assert sum(one.known for one in self.holding if one.rank < LOW) <= shared

    def _hold_order(self, step: Step) -> None:
        """Nobody starts while one of a higher tier waits, but for low in its turn."""
        highest = min((one.rank for one in self.present.values() if one.slot < 0), default=LOW)
        assert all(one.rank <= highest or (one.rank == LOW and one.paused) for one in step.started)

    def _hold_urgent(self) -> None:
        """Nothing but urgent ones stands in the way of one that waits."""
        waiting = [one for one in self.present.values() if one.rank == URGENT and one.slot < 0]
        if waiting:
            urgent = [one for one in self.holding if one.rank == URGENT]
            most_needed = max(one.known for one in waiting) + 32
            shared = self.bounds.tokens - self.bounds.context
            # One more that each of them may be about to get.
            held = sum(one.known + 1 for one in urgent)
            assert len(urgent) >= self.bounds.slots or held + most_needed > shared

    def _hold_low(self, working: list[Sequence]) -> None:
        """It takes part in one of any 20 steps."""
        waits = any(one.rank == LOW for one in self.present.values())
        served = any(one.rank == LOW for one in working)
        self._without_low = 0 if served or not waits else self._without_low + 1
        assert self._without_low < LOW_EVERY

    def _hold_calm(self, step: Step) -> None:
        """Who was interrupted comes back only after another has ended: no two drive each other out in turns."""
        for number, (request, was_evicted, ended) in list(self._away.items()):
            if request.slot >= 0 and (was_evicted or not request.paused):
                assert len(self.ended) > ended
                del self._away[number]
        for request in (*step.paused, *step.evicted):
            self.interruptions.append(request)
            self._away[request.number] = (request, request.slot < 0, len(self.ended))
