"""The Llama family in PyTorch, a forward of our own: all works of a step go through the weights together.

Rows of all sequences are multiplied as one matrix; only attention looks at them apart, decodes as one batch over the
cache in place, each chunk of a prompt by itself. The residual stream is float32, the products are in the weights'
format. In deterministic mode every product has a fixed shape, so that a row never depends on what else runs.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from inference_worker.models import files
from inference_worker.runners import llama_weights
from inference_worker.runners.base import Runner, Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference_worker.models.files import ModelFiles
    from inference_worker.runners.base import Logits
    from inference_worker.runners.llama_weights import LlamaConfig

_TIME_BUCKET = 128
"""Attention reads the cache in multiples of this many positions."""
_MASKED = -1e9
"""Finite, so that a row without any position is no NaN."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """One way through the layers. Rows of `decodes` come first, one each, then those of `prefills`.

    Attributes:
        decodes: works of one token.
        prefills: works of many.
        width: rows of each product; those after the works' own are zero.
        slots, positions: of each row, `[rows]`.
        cos, sin: rotary factors of each row, `[rows, 1, head_dim / 2]`.
        reach: how many slots and positions the decodes' attention reads.
        mask: what each slot's decode may see, `[slots read, 1, 1, positions read]`.
    """

    decodes: Sequence[Work]
    prefills: Sequence[Work]
    width: int
    slots: torch.Tensor
    positions: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor
    reach: tuple[int, int]
    mask: torch.Tensor


class TorchLlama(Runner):
    """A Llama-family model on the CPU."""

    def __init__(
        self,
        file: Path,
        config: LlamaConfig,
        *,
        slots: int,
        max_context: int,
        dtype: torch.dtype = torch.bfloat16,
        fixed_chunk: int = 0,
    ) -> None:
        """Load the weights and reserve the cache, whose memory is taken only as it fills.

        Args:
            file: the weights, safetensors.
            config: the model's shape.
            slots: sequences that the cache holds.
            max_context: tokens that a slot holds.
            dtype: number format of weights and cache.
            fixed_chunk: 0, or in deterministic mode the rows to which every chunk of a prompt is padded.
        """
        self.slots = slots
        self.max_context = min(max_context, config.max_position_embeddings)
        self.format = str(dtype).removeprefix("torch.")
        self._config = config
        self._dtype = dtype
        self._fixed_chunk = fixed_chunk
        self._weights = llama_weights.load(file, config, dtype)
        shape = (config.num_hidden_layers, 2, slots, config.num_key_value_heads, self.max_context, config.head_dim)
        self._cache = _lazy_zeros(shape, dtype)
        self._kv_heads = torch.arange(config.num_key_value_heads)
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        angles = torch.outer(torch.arange(self.max_context, dtype=torch.float32), config.rope_theta**-half)
        self._cos, self._sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)

    @classmethod
    def load(
        cls, model: ModelFiles, *, slots: int, max_context: int, dtype: torch.dtype, fixed_chunk: int = 0
    ) -> TorchLlama:
        """Load a converted model."""
        config = llama_weights.LlamaConfig.read(model.json(files.CONFIG))
        weights = model.folder / files.WEIGHTS
        return cls(weights, config, slots=slots, max_context=max_context, dtype=dtype, fixed_chunk=fixed_chunk)

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> Logits:
        """Run one step; see the port."""
        scores: dict[int, Logits] = {}
        for decodes, prefills in self._passes(batch):
            scored, logits = self._forward(decodes, prefills)
            scores.update(zip((work.slot for work in scored), logits, strict=True))
        rows = [scores[work.slot] for work in batch if work.scored]
        return np.stack(rows) if rows else np.empty((0, self._config.vocab_size), dtype=np.float32)

    def _passes(self, batch: Sequence[Work]) -> list[tuple[list[Work], list[Work]]]:
        """Everything in one pass; in deterministic mode decodes together and each chunk of a prompt alone."""
        decodes = sorted((work for work in batch if len(work.tokens) == 1), key=lambda work: work.slot)
        prefills = [work for work in batch if len(work.tokens) > 1]
        if not self._fixed_chunk:
            return [(decodes, prefills)]
        return [(decodes, [])] * bool(decodes) + [([], [work]) for work in prefills]

    def _forward(self, decodes: Sequence[Work], prefills: Sequence[Work]) -> tuple[list[Work], Logits]:
        """Return the works that are scored, and their scores."""
        config, works = self._config, [*decodes, *prefills]
        now = self._prepare(decodes, prefills)
        x = torch.zeros(now.width, config.hidden_size)
        x[: len(now.slots)] = self._weights.embedding[[token for work in works for token in work.tokens]].float()
        for layer, cache in zip(self._weights.layers, self._cache, strict=True):
            x += layer.out(self._attend(layer.qkv(self._norm(x, layer.attention_norm)), cache, now))
            gate, up = layer.gate_up(self._norm(x, layer.mlp_norm)).chunk(2, dim=-1)
            x += layer.down(functional.silu(gate) * up)
        ends = np.cumsum([len(work.tokens) for work in works]) - 1
        scored = [(work, end) for work, end in zip(works, ends, strict=True) if work.scored]
        if not scored:
            return [], np.empty((0, config.vocab_size), dtype=np.float32)
        last = torch.zeros(self.slots if self._fixed_chunk else len(scored), config.hidden_size)
        last[: len(scored)] = x[[end for _, end in scored]]
        logits = self._weights.head(self._norm(last, self._weights.norm))[: len(scored)]
        return [work for work, _ in scored], logits.float().numpy()

    def _prepare(self, decodes: Sequence[Work], prefills: Sequence[Work]) -> _Pass:
        works = [*decodes, *prefills]
        slots = torch.tensor([work.slot for work in works for _ in work.tokens])
        positions = torch.tensor([work.start + i for work in works for i in range(len(work.tokens))])
        width, reach = len(slots), (0, 0)
        if decodes:
            longest = max(work.start for work in decodes) + 1
            bucketed = min(-(-longest // _TIME_BUCKET) * _TIME_BUCKET, self.max_context)
            reach = (decodes[-1].slot + 1, bucketed)
        if self._fixed_chunk:
            width = self.slots if decodes else self._fixed_chunk
            reach = (self.slots, self.max_context)
        visible = torch.zeros(reach[0], dtype=torch.long)
        visible[slots[: len(decodes)]] = positions[: len(decodes)] + 1
        hidden = torch.arange(reach[1]) >= visible.unsqueeze(1)
        mask = torch.zeros(hidden.shape, dtype=self._dtype).masked_fill_(hidden, _MASKED)
        cos, sin = self._cos[positions], self._sin[positions]
        return _Pass(decodes, prefills, width, slots, positions, cos, sin, reach, mask[:, None, None, :])

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + self._config.rms_norm_eps)
        return (x * scale * weight).to(self._dtype)

    def _attend(self, qkv: torch.Tensor, cache: torch.Tensor, now: _Pass) -> torch.Tensor:
        """Put this step's keys and values into a layer's cache, and return what each row sees, `[width, heads * dim]`."""
        config, rows = self._config, len(now.slots)
        heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        q, k, v = qkv[:rows].view(rows, heads + 2 * kv_heads, dim).split([heads, kv_heads, kv_heads], dim=1)
        q, k = _rotate(q, now), _rotate(k, now)
        place = (now.slots[:, None], self._kv_heads, now.positions[:, None])
        keys, values = cache
        keys[place] = k
        values[place] = v
        seen = qkv.new_zeros(now.width, heads, dim)
        first = len(now.decodes)
        if first:
            slots, reach = now.slots[:first], now.reach
            # A decode's group of query heads stands where a prompt's rows would, so keys and values are never repeated.
            asked = qkv.new_zeros(reach[0], kv_heads, heads // kv_heads, dim)
            asked[slots] = q[:first].view(first, kv_heads, heads // kv_heads, dim)
            scores = asked @ keys[: reach[0], :, : reach[1]].transpose(-1, -2)
            weights = torch.softmax(scores * dim**-0.5 + now.mask, dim=-1)
            seen[:first] = (weights @ values[: reach[0], :, : reach[1]])[slots].view(first, heads, dim)
        for work in now.prefills:
            last, end = first + len(work.tokens), work.start + len(work.tokens)
            visible = now.positions[first:last, None] >= torch.arange(end)
            seen[first:last] = functional.scaled_dot_product_attention(
                q[first:last].transpose(0, 1).unsqueeze(0),
                keys[work.slot, :, :end].unsqueeze(0),
                values[work.slot, :, :end].unsqueeze(0),
                attn_mask=visible,
                enable_gqa=True,
            )[0].transpose(0, 1)
            first = last
        return seen.view(now.width, heads * dim)


def _rotate(x: torch.Tensor, now: _Pass) -> torch.Tensor:
    """Rotary position embedding (RoFormer, arXiv:2104.09864), halves apart as Hugging Face's weights expect."""
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat([low * now.cos - high * now.sin, high * now.cos + low * now.sin], dim=-1).to(x.dtype)


def _lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return zeros whose memory the operating system hands out page by page as it is touched; torch's own are not."""
    memory = mmap.mmap(-1, prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A huge page would be filled by the first token of a slot.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
