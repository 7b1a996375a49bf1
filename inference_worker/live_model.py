"""A model that runs here: prepared by its own tokenizer and template, stepped by the engine on its thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from inference_worker.engine import Engine
from inference_worker.kv_cache import Bounds
from inference_worker.live_engine import LiveEngine
from inference_worker.preparing import Preparing
from inference_worker.reading import Reading
from inference_worker.sequence import Sequence
from inference_worker.serving import Serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from backbone.settings import Settings
    from inference_worker.loading import Model
    from inference_worker.preparing import Prepared
    from inference_worker.requests import ReadRequest, Request
    from inference_worker.scheduled import Output
    from inference_worker.speech import Speech
    from schemas.records import Task


class LiveModel(Serving[Sequence]):
    """A loaded model and the engine that runs it."""

    def __init__(self, model: Model, engine: LiveEngine) -> None:
        """Serve a model by an engine that works already, and that nobody else uses."""
        self.id, self.digest, self.format = model.id, model.digest, model.runner.format
        self.crashed = engine.crashed
        self.calls_in_tags = model.tokenizer.calls_in_tags
        self._model = model
        self._engine = engine
        self._preparing = Preparing(model)

    @classmethod
    def start(cls, model: Model, settings: Settings, now: Callable[[], int]) -> Self:
        """Start an engine for a model.

        Raises:
            CacheTooSmallError: the settings bound the cache below what two sequences take.
        """
        bounds = Bounds.of(model.runner, settings.inference_slots, settings.inference_cache_bytes)
        engine = LiveEngine(Engine(model.runner, model.tokenizer.ends, bounds, fixed=settings.deterministic), now)
        engine.start()
        return cls(model, engine)

    async def prepare(self, request: Request, at: int) -> Prepared:
        """Prepare a request; see `Serving`."""
        return await self._preparing.prepare(request, at)

    def begin(self, speech: Speech, trial: int) -> Sequence:
        """Return a sequence of what is left; see `Serving`."""
        return speech.sequence(self._model, trial)

    def run(self, run: Sequence) -> AsyncGenerator[list[Output], None]:
        """Run a sequence; see `Serving`."""
        return self._engine.run(run)

    async def reading(self, request: ReadRequest, task: Task) -> Reading[Any]:
        """Prepare a request whose texts are read; see `Serving`."""
        return Reading(self._engine, task, await self._preparing.to_read(request))

    def cancel(self, run_id: str) -> None:
        """End a sequence where it stands; see `Serving`."""
        self._engine.cancel(run_id)

    async def stop(self) -> None:
        """Stop after the step that runs now."""
        await self._engine.stop()
