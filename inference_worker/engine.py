"""Continuous batching: sequences join and leave at any step. A step is schedule, run, postprocess.

Knows nothing of Kafka or of threads, and the time comes in as an argument. A sequence that is cancelled or whose time
is over ends before the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_worker.admission import Admission
from inference_worker.kv_cache import Bounds
from inference_worker.scheduled import Output
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inference_worker.admission import Load
    from inference_worker.runners.base import Rows, Runner, Work
    from inference_worker.scheduled import Scheduled as Request

CHUNK = 64
"""Tokens of prompts that a step takes: long enough to be efficient, short enough to be barely felt by who decodes."""


class Engine:
    """Runs sequences on a runner."""

    def __init__(
        self, runner: Runner, ends: Collection[int], bounds: Bounds | None = None, *, fixed: bool = False
    ) -> None:
        """Make an engine without sequences.

        Args:
            runner: the model.
            ends: ids of the tokens that end an answer.
            bounds: what it may use of the runner; by default all.
            fixed: deterministic mode; the runner must have been made for chunks of `CHUNK`.
        """
        self._runner = runner
        self._ends = ends
        self._admission = Admission(bounds or Bounds.of(runner), budget=CHUNK, fixed=fixed)
        self._requests: dict[str, Request] = {}
        self._whole: list[Request] = []
        self._stepping: list[Request] = []

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._requests and not self._whole

    @property
    def load(self) -> Load:
        """How much there is to do."""
        return self._admission.load

    def add(self, request: Request) -> None:
        """Take a sequence; it runs as soon as it is its turn."""
        if request.ended:
            self._whole.append(request)  # what was replayed is the whole answer
            return
        self._requests[request.id] = request
        self._admission.add(request)

    def drop(self, request_id: str) -> Request | None:
        """Let go of a sequence without a word: it ended, or another worker goes on with it."""
        request = self._requests.pop(request_id, None)
        if request:
            self._admission.leave(request)
        return request

    def cancel(self, request_id: str, reason: FinishReason = FinishReason.CANCELLED) -> Output | None:
        """End a sequence where it stands; None if there is none of that id."""
        request = self.drop(request_id)
        return request.end(reason) if request else None

    def fail(self) -> list[Output]:
        """End all that were in a step of the runner that failed."""
        return [out for one in self._stepping if (out := self.cancel(one.id, FinishReason.ERROR))]

    def step(self, now: int) -> list[Output]:
        """Run one step.

        Args:
            now: ms since the epoch.
        """
        outputs, works = self._schedule(now)
        made = self._runner.step(works) if works else []
        return outputs + self._postprocess(works, made)

    def _schedule(self, now: int) -> tuple[list[Output], list[Work]]:
        self._stepping = []
        over = [self.cancel(one.id, FinishReason.DEADLINE) for one in self._admission.overdue(now)]
        whole = [one.end(one.ended) for one in self._whole if one.ended]
        self._whole.clear()
        step = self._admission.schedule()
        started = [Output(one.id, len(one.answer), started=True) for one in step.started]
        self._stepping = [self._admission.at(work.slot) for work in step.works]
        return [out for out in over if out] + whole + started, step.works

    def _postprocess(self, works: Sequence[Work], made: Sequence[Rows]) -> list[Output]:
        outputs = []
        left = iter(made)
        self._admission.ran(works)
        for work, request in zip(works, self._stepping, strict=True):
            if not (work.scored or work.states):
                continue
            if output := request.take(next(left), self._ends):
                outputs.append(output)
                if output.finish:
                    self.drop(request.id)
        return outputs
