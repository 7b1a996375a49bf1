"""A model that TensorFlow saved: a SavedModel or a Keras file that maps token ids to scores, and keeps nothing between.

So a slot holds the tokens alone, and a step computes each text whole, a few texts at once. A model that gives scores after
every token, `[texts, tokens, vocabulary]`, must not look ahead: shorter texts are filled up behind their end. One that gives
them after the last alone, `[texts, vocabulary]`, gets texts of one length.
"""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from inference_worker.errors import NotComputedError
from inference_worker.models import files
from inference_worker.runners.base import Runner

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # it greets on standard error
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from inference_worker.runners.base import Rows, Work

TOGETHER: Final = 8
"""The most texts of one call: what it needs of memory is bounded."""
_SIGNATURES: Final = ("serving_default", "serve")

_log = structlog.get_logger()


class TensorflowRunner(Runner):
    """A model of TensorFlow."""

    hidden = 0

    def __init__(
        self, folder: Path, config: dict[str, Any], *, slots: int, max_context: int, threads: int, alone: bool = False
    ) -> None:
        """Load a model.

        Args:
            folder: of the model: `saved_model/` or `model.keras`.
            config: `vocab_size`, and `max_position_embeddings` where there is a bound.
            slots: sequences that run at once.
            max_context: tokens of one of them.
            threads: how many compute.
            alone: deterministic mode: each text is computed by itself, so that nothing depends on what else runs.

        Raises:
            NotComputedError: it can't be loaded, or maps something else.
        """
        self.slots = slots
        self.max_context = min(max_context, config.get("max_position_embeddings") or max_context)
        self.bytes_per_token = 4
        self._together = 1 if alone else TOGETHER
        _use(threads)
        try:
            self._scores, self._type = self._open(folder)
            self._held: list[list[int]] = [[] for _ in range(slots)]
            made = self._compute([[0], [0]][: self._together])
        except (OSError, ValueError, TypeError, tf.errors.OpError) as error:
            raise NotComputedError(f"TensorFlow can't run it: {error}", field="model") from error
        self._each = made.ndim == 3
        if made.shape[-1] != config["vocab_size"] or made.ndim not in {2, 3}:
            raise NotComputedError(
                f"it gives {list(made.shape)}, and not {config['vocab_size']} scores for each text or each of its tokens",
                field="vocab_size",
            )
        self.format = made.dtype.name

    def _open(self, folder: Path) -> tuple[Callable[[Any], Any], Any]:
        saved = folder / files.SAVED_MODEL
        return _saved(saved) if saved.is_dir() else _keras(folder / files.KERAS)

    def step(self, batch: Sequence[Work]) -> list[Rows]:
        """Run one step; see the port. A work that is not scored costs nothing."""
        for work in batch:
            del self._held[work.slot][work.start :]
            self._held[work.slot] += work.tokens
        made: dict[int, Rows] = {}
        for slots in self._groups([work.slot for work in batch if work.scored]):
            scores = self._compute([self._held[slot] for slot in slots])
            for slot, given in zip(slots, scores, strict=True):
                made[slot] = (given[len(self._held[slot]) - 1] if self._each else given).astype(np.float32)
        return [made[work.slot] for work in batch if work.scored]

    def _groups(self, slots: list[int]) -> Iterator[list[int]]:
        """Part slots into those that are computed together; texts of like lengths go together."""

        def length(slot: int) -> int:
            return len(self._held[slot])

        slots.sort(key=length)
        for _, alike in groupby(slots, key=(lambda _: 0) if self._each else length):
            group = list(alike)
            for begin in range(0, len(group), self._together):
                yield group[begin : begin + self._together]

    def _compute(self, texts: Sequence[Sequence[int]]) -> npt.NDArray[Any]:
        filled = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
        for row, text in zip(filled, texts, strict=True):
            row[: len(text)] = text
        made: npt.NDArray[Any] = self._scores(tf.constant(filled, self._type)).numpy()
        return made


def _use(threads: int) -> None:
    """Bound the threads; a process that has computed keeps those that it has."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        _log.info("tensorflow.threads_kept", reason=str(error))


def _saved(folder: Path) -> tuple[Callable[[Any], Any], Any]:
    """Return the function of a SavedModel, and the type of ids that it takes."""
    loaded = tf.saved_model.load(str(folder))
    name = next((name for name in _SIGNATURES if name in loaded.signatures), None)
    if name is None:
        raise NotComputedError(f"it has none of the signatures {', '.join(_SIGNATURES)}", field="model")
    inputs = loaded.signatures[name].structured_input_signature[1]
    outputs = loaded.signatures[name].structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise NotComputedError("it does not map one tensor to one", field="model")
    ((taken, described),), (given,) = inputs.items(), outputs
    # The weights go with what was loaded, so the function holds it.
    return lambda ids: loaded.signatures[name](**{taken: ids})[given], described.dtype


def _keras(file: Path) -> tuple[Callable[[Any], Any], Any]:
    """Return the function of a Keras file; code that it brings along is refused."""
    model = tf.keras.models.load_model(str(file), compile=False, safe_mode=True)
    return tf.function(lambda ids: model(ids, training=False), reduce_retracing=True), tf.int32
