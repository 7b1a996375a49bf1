"""Small models of random weights, of each family: transformers' own, and ours from the same files.

Torch is loaded when the first is made: to collect the tests takes none.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from inference_worker.runners.families import LlamaConfig
    from inference_worker.runners.int8_llama import Int8Llama
    from inference_worker.runners.torch_llama import TorchLlama

VOCABULARY = 97
SLOTS = 4
CONTEXT = 200

_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}
_PLAIN = {"rope_type": "default", "rope_theta": 1000.0}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 50}
_WINDOWS = {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-tied-biased": (
        "LlamaForCausalLM",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4},
    ),
    "llama-3.1": ("LlamaForCausalLM", {"rope_parameters": {**_LLAMA3, "original_max_position_embeddings": 50}}),
    "llama-linear": ("LlamaForCausalLM", {"rope_parameters": {**_PLAIN, "rope_type": "linear", "factor": 4.0}}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 24, "num_attention_heads": 6}),
    "mistral-full": ("MistralForCausalLM", {"sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen2-windows": ("Qwen2ForCausalLM", {**_WINDOWS, "num_attention_heads": 2, "num_key_value_heads": 1}),
    "qwen3": ("Qwen3ForCausalLM", {"num_attention_heads": 10}),
    "qwen3-yarn": ("Qwen3ForCausalLM", {"rope_parameters": _YARN, "attention_bias": True, **_WINDOWS}),
}
"""Of each family what it may have: class of transformers, and what its config says beside the shape."""


@cache
def reference(variant: str = "llama") -> Any:
    """Transformers' model, in float32, with biases and norms that are not what they begin as."""
    import torch
    import transformers

    name, said = VARIANTS[variant]
    model_class = getattr(transformers, name)
    torch.manual_seed(7)
    config = model_class.config_class(**{**_SHAPE, "rope_parameters": _PLAIN, **said})
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model


def saved(folder: Path, variant: str = "llama") -> Path:
    """Save a model as Hugging Face does; the folder is named after it."""
    place = folder / variant
    if not place.exists():
        reference(variant).save_pretrained(place)
    return place


def config(folder: Path) -> LlamaConfig:
    from inference_worker.runners.families import LlamaConfig

    return LlamaConfig.read(json.loads((folder / "config.json").read_text()))


def ours(folder: Path, dtype: str = "float32", fixed_chunk: int = 0, variant: str = "llama") -> TorchLlama:
    import torch

    from inference_worker.runners.torch_llama import TorchLlama

    place, precision = saved(folder, variant), getattr(torch, dtype)
    return TorchLlama(place, config(place), slots=SLOTS, max_context=CONTEXT, dtype=precision, fixed_chunk=fixed_chunk)


def in_int8(folder: Path, kernels: Any, variant: str = "llama") -> Int8Llama:
    from inference_worker.runners.int8_llama import Int8Llama

    place = saved(folder, variant)
    return Int8Llama(place, config(place), kernels, slots=SLOTS, max_context=CONTEXT, threads=2)


def expected(tokens: list[int], variant: str = "llama") -> npt.NDArray[np.float32]:
    """Transformers' scores after each token, `[tokens, vocabulary]`."""
    import torch

    with torch.inference_mode():
        return reference(variant)(torch.tensor([tokens])).logits[0].float().numpy()
