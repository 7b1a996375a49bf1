"""Any other architecture, by transformers' own model: right before fast.

Each slot has a cache of its own, and sequences go through the model one after another. Models come from a local folder
alone; code that a folder brings along is not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from inference_worker.errors import NotComputedError
from inference_worker.runners.base import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference_worker.runners.base import Rows, Work


class TransformersRunner(Runner):
    """A causal language model of transformers."""

    def __init__(self, folder: Path, *, slots: int, max_context: int, dtype: torch.dtype, device: torch.device) -> None:
        """Load a model.

        Args:
            folder: of the model, as `save_pretrained` writes it.
            slots: sequences that run at once.
            max_context: tokens that a slot holds.
            dtype: number format of the weights.
            device: where it runs.

        Raises:
            NotComputedError: transformers has no causal model of this architecture, or not all of its weights are
                there, or it keeps something else than keys and values.
        """
        try:
            # With `output_loading_info` it returns a pair, which its annotation does not say.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
        except (ValueError, OSError, ImportError) as error:
            raise NotComputedError(f"transformers can't load it: {error}", field="model") from error
        self._model, told = loaded
        if told["missing_keys"]:
            raise NotComputedError(f"the weights lack {min(told['missing_keys'])}", field="model")
        # A recurrent state can't be taken up in the middle of a chunk, nor begun anew by position.
        if getattr(self._model, "_is_stateful", False):
            raise NotComputedError("only models that keep keys and values are run here", field="model_type")
        self._model = self._model.to(device).eval()
        config = self._model.config.get_text_config()
        self.slots = slots
        self.max_context = min(max_context, getattr(config, "max_position_embeddings", None) or max_context)
        self.hidden = config.hidden_size
        self.format = str(dtype).removeprefix("torch.")
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.bytes_per_token = 2 * config.num_hidden_layers * heads * dim * dtype.itemsize
        self._device = device
        self._caches: dict[int, DynamicCache] = {}

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Rows]:
        """Run one step; see the port."""
        return [made for work in batch if (made := self._run(work)) is not None]

    def _run(self, work: Work) -> Rows | None:
        cache = self._cache(work)
        tokens = torch.tensor([list(work.tokens)], device=self._device)
        positions = torch.arange(work.start, work.start + len(work.tokens), device=self._device)
        how = {"position_ids": positions.unsqueeze(0), "past_key_values": cache, "use_cache": True}
        if work.states:
            return _floats(self._model.base_model(tokens, **how).last_hidden_state[0])
        made = self._model(tokens, **how, logits_to_keep=1)
        return _floats(made.logits[0, -1]) if work.scored else None

    def _cache(self, work: Work) -> DynamicCache:
        """Return the cache of a work's slot, holding what is before the work."""
        if work.start == 0:
            # By the config, layers with a window would forget what is outside of it, and could not go back.
            self._caches[work.slot] = DynamicCache()
        cache = self._caches[work.slot]
        if surplus := cache.get_seq_length() - work.start:
            cache.crop(-surplus)
        return cache


def _floats(rows: torch.Tensor) -> Rows:
    floats: Rows = rows.float().cpu().numpy()
    return floats
