"""A Llama of random weights, small enough for exact tests: transformers' own, and ours from the same file.

Torch is loaded when the first is made: to collect the tests takes none.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from inference_worker.runners.llama_weights import LlamaConfig
    from inference_worker.runners.torch_llama import TorchLlama

VOCABULARY = 97
SLOTS = 4
CONTEXT = 200


@cache
def reference() -> Any:
    """Transformers' model, in float32."""
    import torch
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaForCausalLM

    torch.manual_seed(7)
    config = TheirConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=False,
        initializer_range=0.4,
    )
    return LlamaForCausalLM(config).eval()


def config() -> LlamaConfig:
    from inference_worker.runners.llama_weights import LlamaConfig

    theirs = reference().config.to_dict()
    return LlamaConfig.read({**theirs, "rope_theta": theirs["rope_parameters"]["rope_theta"]})


def ours(folder: Path, dtype: str = "float32", fixed_chunk: int = 0) -> TorchLlama:
    import torch
    from safetensors.torch import save_file

    from inference_worker.runners.torch_llama import TorchLlama

    file = folder / "model.safetensors"
    if not file.exists():
        save_file({name: tensor.contiguous() for name, tensor in reference().state_dict().items()}, file)
    precision = getattr(torch, dtype)
    return TorchLlama(file, config(), slots=SLOTS, max_context=CONTEXT, dtype=precision, fixed_chunk=fixed_chunk)


def expected(tokens: list[int]) -> torch.Tensor:
    """Transformers' scores after each token, `[tokens, vocabulary]`."""
    import torch

    with torch.inference_mode():
        return reference()(torch.tensor([tokens])).logits[0].float()
