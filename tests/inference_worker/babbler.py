"""A model that babbles: a Llama of random weights with the real model's tokenizer, small enough for a fleet of workers.

It says anything and hardly ever stops, so a test has answers of any length, and all that a real model's tokens go
through. Made by hand, so that no test process loads PyTorch for it.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from inference_worker.models import files
from inference_worker.models.adopt import adopt

if TYPE_CHECKING:
    from pathlib import Path

NAME = "babbler"
CONTEXT = 32_768
_SHAPE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}


def install(tokenizer: files.ModelFiles, models: Path, scratch: Path) -> None:
    """Make the model and adopt it into a folder of models.

    Args:
        tokenizer: the model whose tokenizer it gets.
        models: the folder of all models.
        scratch: an empty folder.
    """
    for name in (files.TOKENIZER, files.TOKENIZER_CONFIG):
        shutil.copyfile(tokenizer.folder / name, scratch / name)
    vocabulary = tokenizer.json(files.CONFIG)["vocab_size"]
    (scratch / files.CONFIG).write_text(json.dumps(_SHAPE | {"vocab_size": vocabulary}))
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    width, inner = 64, 96
    weights = {"model.embed_tokens.weight": random(vocabulary, width), "model.norm.weight": np.ones(width, np.float32)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        weights |= {
            f"{at}input_layernorm.weight": np.ones(width, np.float32),
            f"{at}post_attention_layernorm.weight": np.ones(width, np.float32),
            f"{at}self_attn.q_proj.weight": random(64, width),
            f"{at}self_attn.k_proj.weight": random(32, width),
            f"{at}self_attn.v_proj.weight": random(32, width),
            f"{at}self_attn.o_proj.weight": random(width, 64),
            f"{at}mlp.gate_proj.weight": random(inner, width),
            f"{at}mlp.up_proj.weight": random(inner, width),
            f"{at}mlp.down_proj.weight": random(width, inner),
        }
    save_file(weights, scratch / files.WEIGHTS)
    adopt(scratch, NAME, models)
