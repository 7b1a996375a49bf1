"""The weights of a Llama-family model, read straight into the form in which they are multiplied.

Each weight is mapped from its file, fused with its neighbours (query, key and value; gate and up), converted and
packed, and then let go, so that loading never holds a second copy of the model. The embedding alone stays mapped: its
rows are looked up in the file's own pages, of which only those of tokens that occur take memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from safetensors import safe_open

from inference_worker.errors import InferenceError
from inference_worker.models import safetensors_file
from inference_worker.runners.linear import linear

if TYPE_CHECKING:
    from pathlib import Path

    from inference_worker.runners.linear import Linear

_DTYPES: Final = {
    "BF16": (torch.bfloat16, np.int16),
    "F16": (torch.float16, np.int16),
    "F32": (torch.float32, np.int32),
}


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """The shape of a model, named as in Hugging Face's `config.json`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool

    @classmethod
    def read(cls, config: dict[str, Any]) -> LlamaConfig:
        """Read a `config.json`.

        Raises:
            InferenceError: it asks for something that this forward does not compute; names the field.
        """
        plain = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
        for name, known in {**plain, "rope_scaling": None}.items():
            if config.get(name, known) != known:
                raise InferenceError(f"only {known!r} is computed here, not {config[name]!r}", field=name)
        return cls(**{name: config[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. Norms are float32 `[hidden]`."""

    attention_norm: torch.Tensor
    qkv: Linear
    out: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class LlamaWeights:
    """A whole model. The embedding is `[vocabulary, hidden]` in the file's own number format."""

    embedding: torch.Tensor
    layers: list[Layer]
    norm: torch.Tensor
    head: Linear


def load(file: Path, config: LlamaConfig, dtype: torch.dtype) -> LlamaWeights:
    """Load a safetensors file whose names are those of `LlamaForCausalLM`."""
    with safe_open(file, framework="pt") as weights:

        def get(name: str) -> torch.Tensor:
            tensor: torch.Tensor = weights.get_tensor(f"{name}.weight")
            return tensor

        def fused(prefix: str, *names: str) -> Linear:
            return linear(torch.cat([get(f"{prefix}.{name}") for name in names]).to(dtype))

        def layer(prefix: str) -> Layer:
            return Layer(
                attention_norm=get(f"{prefix}.input_layernorm").to(torch.float32, copy=True),
                qkv=fused(f"{prefix}.self_attn", "q_proj", "k_proj", "v_proj"),
                out=fused(f"{prefix}.self_attn", "o_proj"),
                mlp_norm=get(f"{prefix}.post_attention_layernorm").to(torch.float32, copy=True),
                gate_up=fused(f"{prefix}.mlp", "gate_proj", "up_proj"),
                down=fused(f"{prefix}.mlp", "down_proj"),
            )

        return LlamaWeights(
            embedding=_mapped(file, "model.embed_tokens.weight"),
            layers=[layer(f"model.layers.{i}") for i in range(config.num_hidden_layers)],
            norm=get("model.norm").to(torch.float32, copy=True),
            head=linear(get("model.embed_tokens" if config.tie_word_embeddings else "lm_head").to(dtype)),
        )


def _mapped(file: Path, name: str) -> torch.Tensor:
    """Map one weight apart from all others, whose pages are let go when loading ends."""
    entry = safetensors_file.locate(file, name)
    dtype, bits = _DTYPES[entry.dtype]
    # Copy-on-write only because torch warns of memory that it may not write.
    return torch.from_numpy(np.memmap(file, bits, "c", entry.offset, entry.shape)).view(dtype)
