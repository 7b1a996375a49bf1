"""The port of what answers: a model here, which the engine steps, or one that a server elsewhere runs.

Whoever answers a request prepares it, begins a run of it (from the first token, or from where an answer stands), and
hears what it says. Claims, the log of tokens, deadlines, cancels and outcomes are the same for all: `answering`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator

    from inference_worker.errors import InferenceError
    from inference_worker.preparing import Prepared
    from inference_worker.reading import Reading
    from inference_worker.requests import ReadRequest, Request
    from inference_worker.scheduled import Output
    from inference_worker.speech import Speech
    from schemas.records import FinishReason, Task


class Run(Protocol):
    """One answer, or what is left of it, as it is run."""

    @property
    def id(self) -> str:
        """Of this run alone, and not of an earlier one of the same request."""

    @property
    def start_by(self) -> int | None:
        """When it must have begun, ms since the epoch; None once it has."""

    @property
    def failure(self) -> InferenceError | None:
        """Why nothing can follow, where it ended for that."""

    def end(self, reason: FinishReason) -> Output:
        """End it where it stands."""


R = TypeVar("R", bound=Run)


class Serving(ABC, Generic[R]):
    """Answers with one model, many requests at once, urgent ones first."""

    id: str
    """Of the model."""
    digest: str
    """What tells the model from any other: an answer goes on only with the same."""
    format: str
    """Number format of the weights, such as `bfloat16`, or what stands for it."""
    crashed: asyncio.Future[BaseException]
    """Done when it can't go on, with why."""
    calls_in_tags: bool
    """Whether calls of tools stand in the text of an answer, between `<tool_call>` and `</tool_call>`."""

    @abstractmethod
    async def prepare(self, request: Request, at: int) -> Prepared:
        """Prepare a request that was made `at` ms since the epoch.

        Raises:
            ModelNotFoundError: it wants another model.
            RequestError: this model can't answer it; names the field.
        """

    @abstractmethod
    def begin(self, speech: Speech, trial: int) -> R:
        """Return a run of what is left of an answer, for the `trial`th time after the first."""

    @abstractmethod
    def run(self, run: R) -> AsyncGenerator[list[Output], None]:
        """Run; yield what came since the last time, until the end. Closing it ends the run without a word."""

    @abstractmethod
    async def reading(self, request: ReadRequest, task: Task) -> Reading[Any]:
        """Prepare a request whose texts are read; it runs when it is told to.

        Raises:
            ModelNotFoundError: it wants another model.
            RequestError: this model can't read it; names the field.
        """

    @abstractmethod
    def cancel(self, run_id: str) -> None:
        """End a run where it stands, if it runs; its last output says so."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop; nothing may run any more."""


async def gathered(outputs: asyncio.Queue[Output]) -> list[Output]:
    """Wait for an output, and return it with those that have come by then."""
    batch = [await outputs.get()]
    while not outputs.empty():
        batch.append(outputs.get_nowait())
    return batch
