"""Which models the Llama forward computes: a table of families, and one view of all their `config.json`s.

What tells them apart is little, and most of it is data: biases and norms of heads are in the weights or are not, and
rotary frequencies are a vector. So a family here is how its windows of attention are told, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from inference_worker.errors import NotComputedError
from inference_worker.runners import rotary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Config = Mapping[str, Any]

UNBOUNDED: Final = 2**31 - 1
"""The window of a layer that sees everything before."""


def _no_windows(config: Config) -> list[int]:
    return [UNBOUNDED] * config["num_hidden_layers"]


def _one_window(config: Config) -> list[int]:
    return [config.get("sliding_window") or UNBOUNDED] * config["num_hidden_layers"]


def _windows_by_layer(config: Config) -> list[int]:
    window = (config.get("use_sliding_window") and config.get("sliding_window")) or UNBOUNDED
    layers, first = config["num_hidden_layers"], config.get("max_window_layers", 28)
    kinds = config.get("layer_types") or [("full", "sliding")[i >= first] + "_attention" for i in range(layers)]
    return [window if kind == "sliding_attention" else UNBOUNDED for kind in kinds]


FAMILIES: Final[dict[str, Callable[[Config], list[int]]]] = {
    "llama": _no_windows,  # SmolLM2 as well
    "mistral": _one_window,
    "qwen2": _windows_by_layer,
    "qwen3": _windows_by_layer,
}
"""Each `model_type`, and the windows of its layers."""


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """The shape of a model, most of it named as in Hugging Face's `config.json`.

    Attributes:
        windows: how many positions, its own among them, a token of each layer sees.
        frequencies: rotary frequencies, `[head_dim / 2]`.
        rotary_scale: by which the rotary factors are multiplied.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    windows: tuple[int, ...]
    frequencies: tuple[float, ...]
    rotary_scale: float

    @classmethod
    def read(cls, config: Config) -> LlamaConfig:
        """Read a `config.json`, of transformers before or since its version 5.

        Raises:
            NotComputedError: it asks for something that this forward does not compute; names the field.
        """
        family = config.get("model_type")
        if family not in FAMILIES:
            raise NotComputedError(f"this forward is one of {', '.join(FAMILIES)}, not {family!r}", field="model_type")
        if (activation := config.get("hidden_act", "silu")) != "silu":
            raise NotComputedError(f"only 'silu' is computed here, not {activation!r}", field="hidden_act")
        heads = config["num_attention_heads"]
        dim = config.get("head_dim") or config["hidden_size"] // heads
        frequencies, scale = rotary.frequencies(config, dim)
        return cls(
            hidden_size=config["hidden_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=dim,
            intermediate_size=config["intermediate_size"],
            vocab_size=config["vocab_size"],
            max_position_embeddings=config["max_position_embeddings"],
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            tie_word_embeddings=config.get("tie_word_embeddings", False),
            windows=tuple(FAMILIES[family](config)),
            frequencies=tuple(frequencies),
            rotary_scale=scale,
        )
