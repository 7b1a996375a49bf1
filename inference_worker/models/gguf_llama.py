"""Reads a Llama-family GGUF as what Hugging Face's files hold: weights by name, config, tokenizer, chat template.

Only what conversion needs: blocks are dequantised by gguf's own numpy code, names follow `LlamaForCausalLM`, and the
tokenizer is rebuilt from the vocabulary and merges. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gguf
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from inference_worker.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

_LAYER: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_CONTROL: Final = 3  # the token type of GGUF that means a special token


class GgufLlama:
    """One GGUF file of a Llama architecture."""

    def __init__(self, file: Path) -> None:
        """Open the file.

        Raises:
            ConversionError: the file is no GGUF, or its architecture or tokenizer is not handled here.
        """
        try:
            self._reader = gguf.GGUFReader(file)
        except (OSError, ValueError) as error:
            raise ConversionError(f"{file.name} is no GGUF file: {error}") from error
        for key, known in (("general.architecture", "llama"), ("tokenizer.ggml.model", "gpt2")):
            if (found := self._field(key)) != known:
                raise ConversionError(f"{key} is {found!r}; only {known!r} can be converted")
        if (pre := self._field("tokenizer.ggml.pre")) != "smollm":
            raise ConversionError(f"tokenizer.ggml.pre is {pre!r}; only 'smollm' can be converted")

    def _field(self, key: str, default: Any = None) -> Any:
        field = self._reader.get_field(key)
        return default if field is None else field.contents()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by its Hugging Face name, in file order."""
        return {_hugging_face_name(t.name): tuple(int(n) for n in reversed(t.shape)) for t in self._reader.tensors}

    def weights(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each weight dequantised, in file order."""
        heads = self._field("llama.attention.head_count")
        kv_heads = self._field("llama.attention.head_count_kv", heads)
        for tensor in self._reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            if ".attn_q." in tensor.name:
                values = _unpermute(values, heads)
            elif ".attn_k." in tensor.name:
                values = _unpermute(values, kv_heads)
            yield values

    def config(self) -> dict[str, Any]:
        """Return `config.json`."""
        names = {tensor.name for tensor in self._reader.tensors}
        heads = self._field("llama.attention.head_count")
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self._field("llama.embedding_length"),
            "intermediate_size": self._field("llama.feed_forward_length"),
            "num_hidden_layers": self._field("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._field("llama.attention.head_count_kv", heads),
            "head_dim": self._field("llama.rope.dimension_count"),
            "max_position_embeddings": self._field("llama.context_length"),
            "rms_norm_eps": round(self._field("llama.attention.layer_norm_rms_epsilon"), 12),
            "rope_theta": self._field("llama.rope.freq_base", 10_000.0),
            "vocab_size": len(self._field("tokenizer.ggml.tokens")),
            "tie_word_embeddings": "output.weight" not in names,
            "bos_token_id": self._field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self._field("tokenizer.ggml.eos_token_id"),
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "torch_dtype": "bfloat16",
        }

    def tokenizer(self) -> str:
        """Return `tokenizer.json`: byte-level BPE that splits digits, as SmolLM's own does."""
        tokens: list[str] = self._field("tokenizer.ggml.tokens")
        types: list[int] = self._field("tokenizer.ggml.token_type")
        merges = [tuple(merge.split(" ", 1)) for merge in self._field("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        special = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
        return str(tokenizer.to_str())

    def tokenizer_config(self) -> dict[str, Any]:
        """Return `tokenizer_config.json`, with the chat template."""
        tokens: list[str] = self._field("tokenizer.ggml.tokens")
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[self._field("tokenizer.ggml.bos_token_id")],
            "eos_token": tokens[self._field("tokenizer.ggml.eos_token_id")],
            "chat_template": self._field("tokenizer.chat_template"),
        }


def _hugging_face_name(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{suffix}"
    match stem.split("."):
        case ["blk", layer, part] if part in _LAYER:
            return f"model.layers.{layer}.{_LAYER[part]}.{suffix}"
    raise ConversionError(f"{name} has no place in a Llama model")


def _unpermute(values: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's interleaving of the rotary halves within each head (rows of the query and key weights)."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
