"""A model from disk to ready: converted if need be, verified, loaded, warmed up; what blocks runs in threads.

The one place that imports PyTorch, and only when it is called: the process announces itself before. The import runs
beside the conversion and the verification.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference_worker.engine import CHUNK
from inference_worker.models import catalog
from inference_worker.models.tokenizer import ModelTokenizer
from inference_worker.runners.base import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from backbone.settings import Settings
    from inference_worker.models.files import ModelFiles
    from inference_worker.runners.base import Runner


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready to run."""

    id: str
    digest: str
    tokenizer: ModelTokenizer
    runner: Runner


async def load(settings: Settings, redis: Redis, tell: Callable[[str], None]) -> Model:
    """Load the model of the settings.

    Args:
        settings: which model, in which format, and the size of its cache.
        redis: where workers agree on who converts it.
        tell: called with what is being done, for people who wait.

    Raises:
        InferenceError: the model is not here, is damaged or can't be run.
    """
    tell("opening the model")
    model, _ = await asyncio.gather(
        catalog.ensure(settings, redis, settings.model, lambda done: tell(f"converting the model {done:.0%}")),
        asyncio.to_thread(importlib.import_module, "inference_worker.runners.choice"),
    )
    tell("loading the model")
    return await asyncio.to_thread(_load, settings, model, tell)


def _load(settings: Settings, model: ModelFiles, tell: Callable[[str], None]) -> Model:
    tokenizer = ModelTokenizer.load(model)
    from inference_worker.runners.choice import open_runner  # noqa: PLC0415 - see the module's docstring

    runner = open_runner(settings, model, fixed_chunk=CHUNK if settings.deterministic else 0)
    tell("warming up")
    # The first product of each shape makes its kernel; nobody's first token should wait for that.
    for tokens in ([0] * min(CHUNK, runner.max_context - 1), [0]):
        runner.step([Work(0, tokens, 0)])
    return Model(settings.model, model.digest, tokenizer, runner)
