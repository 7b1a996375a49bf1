"""The Llama family in int8 on a CPU: a step is one call of the kernels, which know all families that the config tells.

The weights are held once, in int8, for prompts and for decoding alike; keys and values in bfloat16. What a row gives
never depends on which rows come with it. PyTorch is not needed: a worker starts without its seconds and 500 MB.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_size_t, c_void_p
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_worker.runners import int8_weights
from inference_worker.runners.base import Runner
from inference_worker.runners.llama_weights import LlamaFiles
from inference_worker.runners.memory import Arena, lazy_memory
from inference_worker.runners.rotary import factors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from inference_worker.runners.base import Rows, Work
    from inference_worker.runners.families import LlamaConfig
    from inference_worker.runners.llama_weights import Affine

FORMAT = "int8"


class _Product(ctypes.Structure):
    _fields_ = (
        ("weights", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
        ("inputs", c_int32),
        ("outputs", c_int32),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("attention_norm", "mlp_norm", "query_norm", "key_norm")),
        *((name, _Product) for name in ("qkv", "out", "gate_up", "down")),
        ("window", c_int32),
        ("keys", c_void_p),
        ("values", c_void_p),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        *((n, c_int32) for n in ("layers", "hidden", "heads", "kv_heads", "dim", "intermediate", "context", "threads")),
        ("epsilon", c_float),
        ("layer", POINTER(_Layer)),
        ("norm", c_void_p),
        ("head", _Product),
        ("cosines", c_void_p),
        ("sines", c_void_p),
    )


class _Batch(ctypes.Structure):
    _fields_ = (
        ("rows", c_int32),
        ("scored", c_int32),
        *((name, c_void_p) for name in ("x", "slots", "positions", "wanted", "logits")),
    )


def computes(config: LlamaConfig, kernels: ctypes.CDLL) -> bool:
    """Whether the kernels are fast here and fit a model: its widths are whole groups."""
    widths = (config.hidden_size, config.intermediate_size, config.head_dim)
    return bool(kernels.has_dot4()) and all(width % int8_weights.GROUP == 0 for width in widths)


class Int8Llama(Runner):
    """A Llama-family model in int8."""

    format = FORMAT

    def __init__(
        self, folder: Path, config: LlamaConfig, kernels: ctypes.CDLL, *, slots: int, max_context: int, threads: int
    ) -> None:
        """Load the weights and reserve the cache, whose memory is taken only as it fills.

        Args:
            folder: of the model.
            config: its shape.
            kernels: see `native`.
            slots: sequences that the cache holds.
            max_context: tokens that a slot holds.
            threads: how many compute.
        """
        self.slots = slots
        self.max_context = min(max_context, config.max_position_embeddings)
        self.bytes_per_token = 4 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        self.hidden = config.hidden_size
        self._config = config
        self._kernels, self._threads = kernels, threads
        kernels.scratch_bytes.restype = c_size_t
        self._kept: list[npt.NDArray[Any]] = []  # what the model points to
        self._arena = Arena()
        self._scratch = np.empty(0, dtype=np.uint8)
        context = -(-self.max_context // int8_weights.LANES) * int8_weights.LANES
        cosines, sines = factors(config, context)
        weights = LlamaFiles(folder, config)
        self._embedding = weights.embedding()
        self._norm = weights.norm()
        self._model = _Model(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            dim=config.head_dim,
            intermediate=config.intermediate_size,
            context=context,
            threads=threads,
            epsilon=config.rms_norm_eps,
            layer=(_Layer * config.num_hidden_layers)(*self._layers(weights, context)),
            norm=self._keep(self._norm),
            head=self._product(weights.head()),
            cosines=self._keep(cosines),
            sines=self._keep(sines),
        )

    def step(self, batch: Sequence[Work]) -> list[Rows]:
        """Run one step; see the port."""
        tokens = [token for work in batch for token in work.tokens]
        x = self._embedding.floats(tokens)
        slots = np.repeat([work.slot for work in batch], [len(work.tokens) for work in batch]).astype(np.int32)
        positions = np.concatenate(
            [np.arange(work.start, work.start + len(work.tokens), dtype=np.int32) for work in batch]
        )
        ends = np.cumsum([len(work.tokens) for work in batch]) - 1
        wanted = np.array([end for work, end in zip(batch, ends, strict=True) if work.scored], dtype=np.int32)
        logits = np.empty((len(wanted), self._model.head.outputs), dtype=np.float32)
        arrays = [array.ctypes.data for array in (x, slots, positions, wanted, logits)]
        self._kernels.step(
            byref(self._model), byref(_Batch(len(tokens), len(wanted), *arrays)), self._room(len(tokens))
        )
        scores = iter(logits[:, : self._config.vocab_size])
        return [
            next(scores) if work.scored else self._normed(x[end + 1 - len(work.tokens) : end + 1])
            for work, end in zip(batch, ends, strict=True)
            if work.scored or work.states
        ]

    def _normed(self, x: Rows) -> Rows:
        """Return hidden states by what the kernels leave of them: after the last block, before the last norm."""
        normed: Rows = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + self._config.rms_norm_eps) * self._norm
        return normed

    def _room(self, rows: int) -> c_void_p:
        """Return memory for a step, at a multiple of 64."""
        needed = self._kernels.scratch_bytes(byref(self._model), rows) + 64
        if needed > len(self._scratch):
            self._scratch = np.empty(needed, dtype=np.uint8)
        begin = self._scratch.ctypes.data
        return c_void_p(begin + -begin % 64)

    def _layers(self, weights: LlamaFiles, context: int) -> Iterator[_Layer]:
        config = self._config
        shape = (2, self.slots, config.num_key_value_heads, context, config.head_dim)
        for layer, window in zip(weights.layers(), config.windows, strict=True):
            keys, values = np.frombuffer(lazy_memory(2 * prod(shape)), dtype=np.uint16).reshape(shape)
            norms = (layer.attention_norm, layer.mlp_norm, layer.query_norm, layer.key_norm)
            products = (layer.qkv, layer.out, int8_weights.in_turns(layer.gate, layer.up), layer.down)
            yield _Layer(
                *(self._keep(norm) for norm in norms),
                *(self._product(product) for product in products),
                window,
                self._keep(keys),
                self._keep(values),
            )

    def _product(self, affine: Affine) -> _Product:
        packed = int8_weights.pack(self._kernels, affine, self._arena, self._threads)
        places = (self._keep(packed.weights), self._keep(packed.scales), self._keep(packed.bias))
        return _Product(*places, packed.inputs, packed.outputs)

    def _keep(self, array: npt.NDArray[Any] | None) -> int | None:
        """Return where an array lies, which lives as long as this."""
        if array is None:
            return None
        self._kept.append(array)
        return array.ctypes.data
