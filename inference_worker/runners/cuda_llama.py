"""The Llama family on a GPU: decoding is one recorded graph a shape, launched whole and not kernel by kernel.

In a recording each slot up to the highest that decodes is a row, also where nothing runs in it, so that there are few
shapes: slots doubled, times positions in buckets. What such a row writes lies behind the slot's last position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from inference_worker.runners.torch_llama import Pass, TorchLlama

if TYPE_CHECKING:
    Recording = tuple[Pass, torch.cuda.CUDAGraph, tuple[torch.Tensor, torch.Tensor]]

_WARM_UPS = 3
"""Runs before a recording, as the documentation of torch.cuda.CUDAGraph asks for."""


class CudaLlama(TorchLlama):
    """A Llama-family model on a GPU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Load the weights and reserve the cache; arguments are those of `TorchLlama`."""
        super().__init__(*args, **kwargs)
        self._recordings: dict[tuple[int, int], Recording] = {}

    def run(self, now: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is wanted; of decodes alone by a recording, and nobody reads their states."""
        if now.chunks:
            return super().run(now)
        slots, positions = now.reach
        shape = (min(1 << (slots - 1).bit_length(), self.slots), positions)
        if shape not in self._recordings:
            self._recordings[shape] = self._record(shape)
        recorded, graph, (scores, states) = self._recordings[shape]
        recorded.positions.fill_(self.max_context)
        recorded.positions[now.slots] = now.positions
        recorded.tokens[now.slots] = now.tokens
        graph.replay()
        return scores[now.slots[now.wanted]], states

    def _record(self, shape: tuple[int, int]) -> Recording:
        rows = torch.arange(shape[0], device=self.device)
        absent = torch.full_like(rows, self.max_context)
        now = Pass(shape[0], (), shape[0], shape, torch.zeros_like(rows), rows, absent, rows)
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                super().run(now)
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = super().run(now)
        return now, graph, made
