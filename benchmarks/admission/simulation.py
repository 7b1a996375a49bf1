"""The engine's own admission, in a time that is computed: no model runs, a step takes what one was measured to take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inference_worker.admission import LOW_EVERY, Admission
from inference_worker.engine import CHUNK
from inference_worker.kv_cache import LOW, Bounds, places_for
from inference_worker.options import Sampling
from inference_worker.sequence import Sequence
from schemas.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.admission.arrivals import Arrival
    from inference_worker.admission import Step
    from inference_worker.scheduled import Scheduled

STEP_MS, TOKEN_MS = 3.8, 0.21
"""SmolLM2-135M in int8 on two cores, docs/models.md: 4.0 ms for one row, 7.1 for sixteen, 17.3 for a chunk of 64."""
SAMPLE_MS = 500.0
"""How often the state is noted down."""
_HOW = Sampling()
_NO_TEXT: Any = None
"""Nothing is chosen here, so nothing is said."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at a time.

    Attributes:
        at: ms.
        waiting: by tier, those that neither run nor are paused, and those that are paused.
        low: share of the steps since the sample before in which low did something; None where it had nothing to do.
        cache: share of the tokens that the cache may hold.
    """

    at: float
    waiting: tuple[int, ...]
    low: float | None
    cache: float


@dataclass(slots=True)
class Outcome:
    """What came of it all.

    Attributes:
        first_token: ms that each request waited for its first token, or until the simulation's end, by tier.
        by_owner: the same of the batch tier, by owner.
        in_time, late: requests that ended whole, and that their deadline ended, by tier.
        past_deadline: sequences that were in a step that began after their deadline.
        least_low: the least share of any `LOW_EVERY` steps in a row in which low did something while it had work.
        longest_gap: the longest time (ms) from one token of an urgent or realtime answer to the next, without
            interruptions.
        most_cache: the largest share of its tokens that the cache held.
        pauses, evictions: how often a sequence was interrupted, and how.
        computed, again: tokens that were computed, and those of them that had been before.
        samples: over time.
    """

    first_token: dict[Tier, list[float]] = field(default_factory=lambda: {tier: [] for tier in Tier})
    by_owner: dict[str, list[float]] = field(default_factory=dict)
    in_time: dict[Tier, int] = field(default_factory=lambda: dict.fromkeys(Tier, 0))
    late: dict[Tier, int] = field(default_factory=lambda: dict.fromkeys(Tier, 0))
    past_deadline: int = 0
    least_low: float = 1.0
    longest_gap: float = 0.0
    most_cache: float = 0.0
    pauses: int = 0
    evictions: int = 0
    computed: int = 0
    again: int = 0
    samples: list[Sample] = field(default_factory=list)


class Simulation:
    """Runs arrivals through an admission."""

    def __init__(self, *, slots: int, context: int, cache: float = 1.0, fair: bool = True) -> None:
        """Begin with nothing.

        Args:
            slots: sequences that run at once.
            context: tokens that each may have.
            cache: what may be held, as a share of what all places hold together.
            fair: whether admission is told whose the requests are.
        """
        places = places_for(slots)
        self._bounds = Bounds(slots, places, context, int(places * context * cache))
        self._admission = Admission(self._bounds, budget=CHUNK)
        self._now = 0.0
        self._fair = fair
        self._arrivals: dict[int, Arrival] = {}
        self._last_token: dict[int, float] = {}
        self._present: dict[int, Scheduled] = {}
        self._low: list[bool] = []
        self._low_since_sample: list[bool] = []
        self.outcome = Outcome()

    def run(self, arrivals: Iterable[Arrival], seconds: float) -> Outcome:
        """Run what arrives, and for so many seconds; return what came of it."""
        coming = sorted(arrivals, key=lambda one: one.at)[::-1]
        while self._now < seconds * 1000:
            while coming and coming[-1].at <= self._now:
                self.add(coming.pop())
            if self._present:
                self.step()
            else:
                self._now = coming[-1].at if coming else seconds * 1000
            if not self.outcome.samples or self._now - self.outcome.samples[-1].at >= SAMPLE_MS:
                self._sample()
        for request in self._present.values():
            if not request.answer:
                self._note_wait(request)
        return self.outcome

    @property
    def waiting(self) -> int:
        """How many have no place."""
        return self._admission.load.waiting

    def add(self, arrival: Arrival) -> None:
        """Let a request come."""
        request = Sequence(
            id="",
            prompt=range(arrival.prompt),
            how=_HOW,
            seed=0,
            limit=arrival.answer,
            rank=arrival.tier.rank,
            deadline=arrival.ends_by,
            text=_NO_TEXT,
            owner=arrival.owner if self._fair else "",
        )
        self._admission.add(request)
        self._present[request.number] = request
        self._arrivals[request.number] = arrival

    def step(self) -> None:
        """Run one step."""
        for request in self._admission.overdue(int(self._now)):
            self._end(request)
            self.outcome.late[_tier(request)] += 1
        step = self._admission.schedule()
        working = [self._admission.at(work.slot) for work in step.works]
        self._look_at(step, working)
        self._admission.ran(step.works)
        self._now += STEP_MS + TOKEN_MS * sum(len(work.tokens) for work in step.works)
        for work, request in zip(step.works, working, strict=True):
            if work.scored:
                self._say(request)

    def _say(self, request: Scheduled) -> None:
        tier = _tier(request)
        if request.answer:
            if tier in {Tier.URGENT, Tier.REALTIME}:
                since = self._last_token.get(request.number, self._now)
                self.outcome.longest_gap = max(self.outcome.longest_gap, self._now - since)
        else:
            self._note_wait(request)
        self._last_token[request.number] = self._now
        request.answer.append(0)
        if len(request.answer) == request.limit:
            self._end(request)
            self.outcome.in_time[tier] += 1

    def _note_wait(self, request: Scheduled) -> None:
        arrival = self._arrivals[request.number]
        waited = self._now - arrival.at
        self.outcome.first_token[arrival.tier].append(waited)
        if arrival.tier is Tier.BATCH:
            self.outcome.by_owner.setdefault(arrival.owner, []).append(waited)

    def _end(self, request: Scheduled) -> None:
        self._admission.leave(request)
        del self._present[request.number]

    def _look_at(self, step: Step, working: list[Scheduled]) -> None:
        outcome = self.outcome
        outcome.past_deadline += sum(one.deadline <= self._now for one in working)
        outcome.most_cache = max(outcome.most_cache, self._admission.load.tokens / self._bounds.tokens)
        outcome.pauses += len(step.paused)
        outcome.evictions += len(step.evicted)
        for request in (*step.paused, *step.evicted):
            self._last_token.pop(request.number, None)
        for work, request in zip(step.works, working, strict=True):
            outcome.computed += len(work.tokens)
            outcome.again += max(0, min(request.served, work.start + len(work.tokens)) - work.start)
        if any(one.rank == LOW for one in self._present.values()):
            self._low.append(any(one.rank == LOW for one in working))
            self._low_since_sample.append(self._low[-1])
            if len(self._low) >= LOW_EVERY:
                outcome.least_low = min(outcome.least_low, sum(self._low[-LOW_EVERY:]) / LOW_EVERY)
        else:
            self._low.clear()

    def _sample(self) -> None:
        idle = [one for one in self._present.values() if one.slot < 0 or one.paused]
        waiting = tuple(sum(one.rank == tier.rank for one in idle) for tier in Tier)
        low = self._low_since_sample
        share = sum(low) / len(low) if low else None
        self.outcome.samples.append(
            Sample(self._now, waiting, share, self._admission.load.tokens / self._bounds.tokens)
        )
        self._low_since_sample = []


def _tier(request: Scheduled) -> Tier:
    return list(Tier)[request.rank]
