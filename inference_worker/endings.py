"""From how a request ended to what follows from it: its event, and a retry, a dead letter or the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backbone import outcome
from inference_worker.errors import StepFailedError
from schemas.records import FinishReason, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from backbone.outcome import Outcome
    from backbone.settings import Settings
    from schemas.errors import Problem
    from schemas.records import Task


@dataclass(frozen=True, slots=True)
class Endings:
    """Makes outcomes.

    Attributes:
        settings: of the process.
        worker: name of this process, for events.
        now: the time in ms since the epoch.
        jitter: uniform in [0, 1).
    """

    settings: Settings
    worker: str
    now: Callable[[], int]
    jitter: Callable[[], float]

    def of(
        self,
        task: Task,
        finish: FinishReason,
        result: bytes,
        problem: Problem | None = None,
        *,
        after: float = 0,
        **how_far: object,
    ) -> Outcome:
        """Return what follows from an answer's end.

        Args:
            task: the request.
            finish: why it ended.
            result: JSON, where it ended whole.
            problem: what went wrong, if something did.
            after: seconds before which another attempt is of no use.
            how_far: further fields of the event.
        """
        match finish:
            case FinishReason.STOP | FinishReason.LENGTH:
                return outcome.succeeded(
                    task,
                    result,
                    tiers=self.settings.tiers,
                    largest=self.settings.max_upload_bytes,
                    now=self.now(),
                    worker=self.worker,
                    **how_far,
                )
            case FinishReason.DEADLINE:
                return self.ended(task, Status.EXPIRED, error=problem, **how_far)
            case FinishReason.CANCELLED:
                return self.ended(task, Status.CANCELLED, **how_far)
        return self.failed(task, problem or StepFailedError().problem(), after=after, **how_far)

    def ended(self, task: Task, status: Status, **fields: object) -> Outcome:
        """Return what follows where nothing failed and there is no result."""
        return outcome.ended(task, status, now=self.now(), worker=self.worker, **fields)

    def failed(self, task: Task, problem: Problem, *, after: float = 0, **fields: object) -> Outcome:
        """Return what follows from a failure.

        Args:
            task: the request.
            problem: what went wrong.
            after: seconds before which another attempt is of no use.
            fields: further fields of the event.
        """
        if task.tier is None:
            raise ValueError("the task is not stamped: it has no tier")
        return outcome.failed(
            task,
            problem,
            policy=self.settings.tiers[task.tier],
            now=self.now(),
            worker=self.worker,
            jitter=self.jitter(),
            after=int(after * 1000),
            **fields,
        )
