"""Continuous batching: sequences join and leave at any step. A step is schedule, run, postprocess.

Knows nothing of Kafka or of threads, and the time comes in as an argument. A sequence that is cancelled or whose time
is over ends before the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_worker import admission
from inference_worker.sequence import Output
from schemas.records import FinishReason

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from inference_worker.runners.base import Logits, Runner, Work
    from inference_worker.sequence import Sequence as Request

CHUNK = 128
"""Tokens of prompts that a step takes: long enough to be efficient, short enough to be barely felt by who decodes."""


class Engine:
    """Runs sequences on a runner."""

    def __init__(self, runner: Runner, ends: Container[int], *, fixed: bool = False) -> None:
        """Make an engine without sequences.

        Args:
            runner: the model.
            ends: ids of the tokens that end an answer.
            fixed: deterministic mode; the runner must have been made for chunks of `CHUNK`.
        """
        self._runner = runner
        self._ends = ends
        self._fixed = fixed
        self._waiting: dict[str, Request] = {}
        self._running: dict[int, Request] = {}
        self._free = list(range(runner.slots))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self._running

    @property
    def load(self) -> tuple[int, int]:
        """How many sequences run, and how many wait."""
        return len(self._running), len(self._waiting)

    def add(self, request: Request) -> None:
        """Take a sequence; it runs as soon as it is its turn."""
        self._waiting[request.id] = request

    def drop(self, request_id: str) -> Request | None:
        """Let go of a sequence without a word: it ended, or another worker goes on with it."""
        request = self._waiting.pop(request_id, None)
        if request is None:
            request = next((one for one in self._running.values() if one.id == request_id), None)
            if request:
                del self._running[request.slot]
                # The lowest slots are taken first, so that the runner's batches stay dense.
                self._free = sorted([*self._free, request.slot])
        return request

    def cancel(self, request_id: str, reason: FinishReason = FinishReason.CANCELLED) -> Output | None:
        """End a sequence where it stands; None if there is none of that id."""
        request = self.drop(request_id)
        return request.end(reason) if request else None

    def fail(self) -> list[Output]:
        """End all that run, after a step of the runner failed."""
        return [out for one in list(self._running.values()) if (out := self.cancel(one.id, FinishReason.ERROR))]

    def step(self, now: int) -> list[Output]:
        """Run one step.

        Args:
            now: ms since the epoch.
        """
        outputs, works = self._schedule(now)
        logits = self._runner.step(works) if works else None
        return outputs + self._postprocess(works, logits)

    def _schedule(self, now: int) -> tuple[list[Output], list[Work]]:
        everyone = [*self._waiting.values(), *self._running.values()]
        over = [self.cancel(one.id, FinishReason.DEADLINE) for one in everyone if one.overdue(now)]
        replayed = [self.cancel(one.id, one.ended) for one in everyone if one.ended]
        outputs = [out for out in (*over, *replayed) if out]
        for request in admission.admit(self._waiting.values(), len(self._free), self._runner.slots):
            del self._waiting[request.id]
            request.slot = self._free.pop(0)
            request.start_by = None
            self._running[request.slot] = request
            outputs.append(Output(request.id, len(request.answer), started=True))
        return outputs, admission.plan(list(self._running.values()), CHUNK, fixed=self._fixed)

    def _postprocess(self, works: Sequence[Work], logits: Logits | None) -> list[Output]:
        outputs = []
        scores = iter(() if logits is None else logits)
        for work in works:
            request = self._running[work.slot]
            request.cached += len(work.tokens)
            if not work.scored:
                continue
            output = request.choose(next(scores), self._ends)
            outputs.append(output)
            if output.finish:
                self.drop(request.id)
        return outputs
