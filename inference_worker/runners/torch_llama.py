"""The Llama family in PyTorch, a forward of our own: all works of a step go through the weights together.

Rows of all sequences are multiplied as one matrix; only attention looks at them apart, decodes as one batch over the
cache in place, each chunk of a prompt by itself. The residual stream is float32, the products are in the weights'
format. In deterministic mode every product has a fixed shape, so that a row never depends on what else runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from inference_worker.runners import llama_weights, rotary
from inference_worker.runners.base import Runner, Work
from inference_worker.runners.linear import linear, tensor
from inference_worker.runners.memory import lazy_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from inference_worker.runners.base import Rows
    from inference_worker.runners.families import LlamaConfig
    from inference_worker.runners.linear import Linear

_TIME_BUCKET = 128
"""Attention reads the cache in multiples of this many positions."""
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class _Layer:
    """One block, ready to compute. Norms are float32; those of heads only Qwen3 has."""

    attention_norm: torch.Tensor
    qkv: Linear
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    out: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear
    window: int
    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through the layers. Rows of decodes come first, one each, then those of chunks.

    Attributes:
        decodes: how many.
        chunks: slot, first position and length of each.
        width: rows of each product; those after the works' own are zero.
        reach: how many slots and positions the decodes' attention reads.
        tokens, slots, positions: of each row, `[rows]`.
        wanted: rows that are scored, padded to how many products are made of them.
        states: rows whose hidden states are wanted, None where nobody's are.
    """

    decodes: int
    chunks: tuple[tuple[int, int, int], ...]
    width: int
    reach: tuple[int, int]
    tokens: torch.Tensor
    slots: torch.Tensor
    positions: torch.Tensor
    wanted: torch.Tensor
    states: torch.Tensor | None = None


class TorchLlama(Runner):
    """A Llama-family model in float32 or bfloat16."""

    def __init__(
        self,
        folder: Path,
        config: LlamaConfig,
        *,
        slots: int,
        max_context: int,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device = _CPU,
        fixed_chunk: int = 0,
    ) -> None:
        """Load the weights and reserve the cache; on a CPU its memory is taken only as it fills.

        Args:
            folder: of the model.
            config: the model's shape.
            slots: sequences that the cache holds.
            max_context: tokens that a slot holds.
            dtype: number format of weights and cache.
            device: where it runs.
            fixed_chunk: 0, or in deterministic mode the rows to which every chunk of a prompt is padded.
        """
        self.slots = slots
        self.max_context = min(max_context, config.max_position_embeddings)
        self.format = str(dtype).removeprefix("torch.")
        numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        self.bytes_per_token = numbers * dtype.itemsize
        self.hidden = config.hidden_size
        self.device = device
        self._config = config
        self._dtype = dtype
        self._fixed_chunk = fixed_chunk
        weights = llama_weights.LlamaFiles(folder, config)
        embedding = tensor(weights.embedding())
        self._embedding = embedding if device == _CPU else embedding.to(device, dtype)
        self._layers = [
            self._ready(layer, window) for layer, window in zip(weights.layers(), config.windows, strict=True)
        ]
        self._norm = torch.from_numpy(weights.norm()).to(device)
        self._head = linear(weights.head(), dtype, device)
        self._kv_heads = torch.arange(config.num_key_value_heads, device=device)
        # One position more than a slot holds: where a slot that is not in a step leaves what nobody reads.
        factors = rotary.factors(config, self.max_context + 1)
        self._cos, self._sin = (torch.from_numpy(factor).unsqueeze(1).to(device) for factor in factors)

    def _ready(self, layer: llama_weights.Layer, window: int) -> _Layer:
        dtype, device, config = self._dtype, self.device, self._config
        biases = [affine.bias for affine in (layer.gate, layer.up) if affine.bias]
        weight = llama_weights.joined([layer.gate.weight, layer.up.weight])
        gate_up = llama_weights.Affine(weight, llama_weights.joined(biases) if biases else None)
        shape = (2, self.slots, config.num_key_value_heads, self.max_context + 1, config.head_dim)
        if device == _CPU:  # torch's own zeros would take all of their memory at once
            keys, values = torch.frombuffer(lazy_memory(prod(shape) * dtype.itemsize), dtype=dtype).view(shape)
        else:
            keys, values = torch.zeros(shape, dtype=dtype, device=device)

        def norm(values: npt.NDArray[np.float32]) -> torch.Tensor:
            return torch.from_numpy(values).to(device)

        return _Layer(
            attention_norm=norm(layer.attention_norm),
            qkv=linear(layer.qkv, dtype, device),
            query_norm=None if layer.query_norm is None else norm(layer.query_norm),
            key_norm=None if layer.key_norm is None else norm(layer.key_norm),
            out=linear(layer.out, dtype, device),
            mlp_norm=norm(layer.mlp_norm),
            gate_up=linear(gate_up, dtype, device),
            down=linear(layer.down, dtype, device),
            window=window,
            keys=keys,
            values=values,
        )

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Rows]:
        """Run one step; see the port."""
        made: dict[int, Rows] = {}
        for decodes, prefills in self._passes(batch):
            scored = [work.slot for work in (*decodes, *prefills) if work.scored]
            scores, states = (rows.cpu().numpy() for rows in self.run(self._prepare(decodes, prefills)))
            made.update(zip(scored, scores[: len(scored)], strict=True))
            for work in prefills:
                if work.states:
                    made[work.slot], states = np.split(states, [len(work.tokens)])
        return [made[work.slot] for work in batch if work.scored or work.states]

    def _passes(self, batch: Sequence[Work]) -> list[tuple[list[Work], list[Work]]]:
        """Everything in one pass; in deterministic mode decodes together and each chunk of a prompt alone."""

        def alone(work: Work) -> bool:
            return len(work.tokens) == 1 and not work.states

        decodes = sorted(filter(alone, batch), key=lambda work: work.slot)
        prefills = [work for work in batch if not alone(work)]
        if not self._fixed_chunk:
            return [(decodes, prefills)]
        return [(decodes, [])] * bool(decodes) + [([], [work]) for work in prefills]

    def _prepare(self, decodes: Sequence[Work], prefills: Sequence[Work]) -> Pass:
        works = [*decodes, *prefills]
        tokens = [token for work in works for token in work.tokens]
        ends = np.cumsum([len(work.tokens) for work in works]) - 1
        wanted = [int(end) for work, end in zip(works, ends, strict=True) if work.scored]
        reads = [work.states for work in works for _ in work.tokens]
        width, reach = len(tokens), (0, 0)
        if decodes:
            longest = max(work.start for work in decodes) + 1
            bucketed = min(-(-longest // _TIME_BUCKET) * _TIME_BUCKET, self.max_context)
            reach = (decodes[-1].slot + 1, bucketed)
        if self._fixed_chunk:
            width = self.slots if decodes else self._fixed_chunk
            reach = (self.slots, self.max_context)
            wanted += [0] * (self.slots - len(wanted))
        return Pass(
            decodes=len(decodes),
            chunks=tuple((work.slot, work.start, len(work.tokens)) for work in prefills),
            width=width,
            reach=reach,
            tokens=torch.tensor(tokens).to(self.device),
            slots=torch.tensor([work.slot for work in works for _ in work.tokens]).to(self.device),
            positions=torch.tensor([work.start + i for work in works for i in range(len(work.tokens))]).to(self.device),
            wanted=torch.tensor(wanted, dtype=torch.long).to(self.device),
            states=torch.tensor(reads).nonzero().flatten().to(self.device) if any(reads) else None,
        )

    def run(self, now: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is wanted, on the device, in float32: scores `[wanted, vocabulary]`, and states `[states, hidden]`."""
        config, rows = self._config, len(now.tokens)
        x = torch.zeros(now.width, config.hidden_size, device=self.device)
        x[:rows] = self._embedding[now.tokens].float()
        rotation = self._cos[now.positions], self._sin[now.positions]
        masks = {window: self._mask(now, window) for window in set(config.windows)} if now.decodes else {}
        for layer in self._layers:
            qkv = layer.qkv(self._normed(x, layer.attention_norm).to(self._dtype))[:rows]
            queries = self._remember(layer, qkv, rotation, now)
            seen = qkv.new_zeros(now.width, config.num_attention_heads, config.head_dim)
            if now.decodes:
                seen[: now.decodes] = self._decoded(layer, queries[: now.decodes], masks[layer.window], now)
            first = now.decodes
            for slot, start, length in now.chunks:
                seen[first : first + length] = self._chunk(layer, queries[first : first + length], slot, start)
                first += length
            x += layer.out(seen.flatten(1))
            gate, up = layer.gate_up(self._normed(x, layer.mlp_norm).to(self._dtype)).chunk(2, dim=-1)
            x += layer.down(functional.silu(gate) * up)
        scores = self._head(self._normed(x[now.wanted], self._norm).to(self._dtype)).float()
        return scores, x[:0] if now.states is None else self._normed(x[now.states], self._norm)

    def _mask(self, now: Pass, window: int) -> torch.Tensor:
        """Return what each slot's decode may see, `[slots read, 1, 1, positions read]`."""
        # A slot without a decode sees all, so that none of its scores is a NaN.
        last = torch.full((now.reach[0],), self.max_context, device=self.device)
        last[now.slots[: now.decodes]] = now.positions[: now.decodes]
        at, last = torch.arange(now.reach[1], device=self.device), last.unsqueeze(1)
        hidden = (at > last) | ((at <= last - window) & (last < self.max_context))
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=self.device)
        return mask.masked_fill_(hidden, -torch.inf)[:, None, None, :]

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, weight.shape, weight, self._config.rms_norm_eps)

    def _remember(
        self, layer: _Layer, qkv: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], now: Pass
    ) -> torch.Tensor:
        """Put this step's keys and values into the cache; return the queries, `[rows, heads, dim]`."""
        config = self._config
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        parts = qkv.view(len(qkv), heads + 2 * kv_heads, config.head_dim)
        placed = parts[:, : heads + kv_heads].float()
        if layer.query_norm is not None and layer.key_norm is not None:
            weights = torch.cat([layer.query_norm.expand(heads, -1), layer.key_norm.expand(kv_heads, -1)])
            placed = functional.rms_norm(placed, (config.head_dim,), None, config.rms_norm_eps) * weights
        cos, sin = rotation
        low, high = placed.chunk(2, dim=-1)
        placed = torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1).to(qkv.dtype)
        place = (now.slots[:, None], self._kv_heads, now.positions[:, None])
        layer.keys[place] = placed[:, heads:]
        layer.values[place] = parts[:, heads + kv_heads :]
        return placed[:, :heads]

    def _decoded(self, layer: _Layer, queries: torch.Tensor, mask: torch.Tensor, now: Pass) -> torch.Tensor:
        config, (slots, reach) = self._config, now.reach
        kv_heads, shared = config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads
        # A decode's group of query heads stands where a prompt's rows would, so keys and values are never repeated.
        asked = queries.new_zeros(slots, kv_heads, shared, config.head_dim)
        places = now.slots[: now.decodes]
        asked[places] = queries.view(-1, kv_heads, shared, config.head_dim)
        keys, values = layer.keys[:slots, :, :reach], layer.values[:slots, :, :reach]
        return functional.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)[places].flatten(1, 2)

    def _chunk(self, layer: _Layer, queries: torch.Tensor, slot: int, start: int) -> torch.Tensor:
        end = start + len(queries)
        rows, at = torch.arange(start, end, device=self.device)[:, None], torch.arange(end, device=self.device)
        return functional.scaled_dot_product_attention(
            queries.transpose(0, 1).unsqueeze(0),
            layer.keys[slot, :, :end].unsqueeze(0),
            layer.values[slot, :, :end].unsqueeze(0),
            attn_mask=(at <= rows) & (at > rows - layer.window),
            enable_gqa=True,
        )[0].transpose(0, 1)
