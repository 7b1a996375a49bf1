"""Architectures that our forward does not compute, by transformers' own model: as its own `generate` has it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from inference_worker.errors import NotComputedError
from inference_worker.runners.base import Work

if TYPE_CHECKING:
    from inference_worker.runners.transformers_runner import TransformersRunner

pytestmark = pytest.mark.slow

_SMALL = {"vocab_size": 97, "max_position_embeddings": 128, "bos_token_id": None, "eos_token_id": None}
_LAYERS = {**_SMALL, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "GPT2LMHeadModel": {**_SMALL, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "Gemma2ForCausalLM": {**_LAYERS, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16, "pad_token_id": 0},
    "PhiForCausalLM": _LAYERS,
    "MambaForCausalLM": {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "eos_token_id": None},
}


@pytest.fixture(scope="module", params=[name for name in MODELS if name != "MambaForCausalLM"])
def pair(request, tmp_path_factory) -> tuple[Any, TransformersRunner]:
    import torch

    from inference_worker.runners.transformers_runner import TransformersRunner

    theirs, folder = saved_model(request.param, tmp_path_factory.mktemp("model"))
    device = torch.device("cpu")
    return theirs, TransformersRunner(folder, slots=3, max_context=500, dtype=torch.float32, device=device)


def saved_model(name: str, folder: Any) -> tuple[Any, Any]:
    import torch
    import transformers

    torch.manual_seed(3)
    model_class = getattr(transformers, name)
    model = model_class(model_class.config_class(**MODELS[name], initializer_range=0.3)).eval()
    model.save_pretrained(folder)
    return model, folder


def test_sequences_side_by_side_say_what_generate_says(pair):
    import torch

    theirs, runner = pair
    rng = random.Random(4)
    prompts = {0: rng.choices(range(97), k=37), 2: rng.choices(range(97), k=9)}
    runner.step([Work(2, rng.choices(range(97), k=20), 0)])  # what was in a slot before is not seen
    assert len(runner.step([Work(0, prompts[0][:20], 0, scored=False)])) == 0
    said: dict[int, list[int]] = {0: [], 2: []}
    scores = runner.step([Work(0, prompts[0][20:], 20), Work(2, prompts[2], 0)])
    for at in range(12):
        for slot, row in zip((0, 2), scores, strict=True):
            said[slot].append(int(row.argmax()))
        scores = runner.step([Work(slot, said[slot][-1:], len(prompts[slot]) + at) for slot in (0, 2)])
    for slot, prompt in prompts.items():
        wanted = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=12, do_sample=False
        )
        assert said[slot] == wanted[0, len(prompt) :].tolist()


def test_a_slot_holds_what_the_model_can(pair):
    assert pair[1].max_context == 128
    assert pair[1].bytes_per_token > 0


def test_a_folder_without_a_model_is_refused(tmp_path):
    import torch

    from inference_worker.runners.transformers_runner import TransformersRunner

    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(NotComputedError):
        TransformersRunner(tmp_path, slots=1, max_context=10, dtype=torch.float32, device=torch.device("cpu"))


def test_a_model_whose_state_is_no_cache_of_keys_is_refused(tmp_path):
    import torch

    from inference_worker.runners.transformers_runner import TransformersRunner

    _, folder = saved_model("MambaForCausalLM", tmp_path / "mamba")
    with pytest.raises(NotComputedError):
        TransformersRunner(folder, slots=1, max_context=10, dtype=torch.float32, device=torch.device("cpu"))
