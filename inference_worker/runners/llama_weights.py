"""The weights of a Llama-family model as its files hold them, a layer at a time, by the names of `LlamaForCausalLM`.

Each weight is mapped from its file and let go when a runner has packed it, so that loading never holds a second copy
of the model. The embedding alone stays mapped: its rows are looked up in the file's own pages, of which only those of
tokens that occur take memory. No PyTorch here: int8 runs without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from inference_worker.errors import NotComputedError
from inference_worker.models import files, safetensors_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from inference_worker.runners.families import LlamaConfig

    Floats = npt.NDArray[np.float32]

_SHARDS: Final = "model.safetensors.index.json"
_BITS: Final = {"BF16": np.int16, "F16": np.int16, "F32": np.int32}
_EMBEDDING: Final = "model.embed_tokens.weight"


class Stored(NamedTuple):
    """Numbers as a file holds them: their bits as integers, and their format (`BF16`, `F16`, `F32`)."""

    bits: npt.NDArray[np.integer[Any]]
    format: str

    def floats(self, rows: slice | list[int] = slice(None)) -> Floats:
        """Return rows as float32."""
        bits = self.bits[rows]
        if self.format == "F32":
            return bits.view(np.float32)
        if self.format == "F16":
            return bits.view(np.float16).astype(np.float32)
        return (bits.astype(np.uint32) << 16).view(np.float32)


class Affine(NamedTuple):
    """A weight `[out, in]` and its bias `[out]`."""

    weight: Stored
    bias: Stored | None


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. Norms are float32; those of heads only Qwen3 has."""

    attention_norm: Floats
    qkv: Affine
    query_norm: Floats | None
    key_norm: Floats | None
    out: Affine
    mlp_norm: Floats
    gate: Affine
    up: Affine
    down: Affine


class LlamaFiles:
    """A model's weights, in one file or in several."""

    def __init__(self, folder: Path, config: LlamaConfig) -> None:
        """Find out which weights there are, and where.

        Raises:
            NotComputedError: there are weights that a Llama does not have.
        """
        self._config = config
        if (index := folder / _SHARDS).exists():
            shards = msgspec.json.decode(index.read_bytes())["weight_map"]
        else:
            shards = dict.fromkeys(safetensors_file.names(folder / files.WEIGHTS), files.WEIGHTS)
        self._where = {name: folder / shard for name, shard in shards.items()}
        if strange := self._where.keys() - _known(config):
            raise NotComputedError(f"a Llama has no weight {min(strange)}", field=files.WEIGHTS)

    def embedding(self) -> Stored:
        """Map the embedding, `[vocabulary, hidden]`."""
        return self._stored(_EMBEDDING)

    def layers(self) -> Iterator[Layer]:
        """Yield the layers one by one."""
        for i in range(self._config.num_hidden_layers):
            attention, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
            yield Layer(
                attention_norm=self._norm(f"model.layers.{i}.input_layernorm"),
                qkv=self._affine(f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj"),
                query_norm=self._norm(f"{attention}.q_norm") if f"{attention}.q_norm.weight" in self._where else None,
                key_norm=self._norm(f"{attention}.k_norm") if f"{attention}.k_norm.weight" in self._where else None,
                out=self._affine(f"{attention}.o_proj"),
                mlp_norm=self._norm(f"model.layers.{i}.post_attention_layernorm"),
                gate=self._affine(f"{mlp}.gate_proj"),
                up=self._affine(f"{mlp}.up_proj"),
                down=self._affine(f"{mlp}.down_proj"),
            )

    def norm(self) -> Floats:
        """Return the last norm."""
        return self._norm("model.norm")

    def head(self) -> Affine:
        """Return what makes scores of the last hidden state."""
        return self._affine("model.embed_tokens" if self._config.tie_word_embeddings else "lm_head")

    def _stored(self, name: str) -> Stored:
        if name not in self._where:
            raise NotComputedError(f"the weights lack {name}", field=files.WEIGHTS)
        entry = safetensors_file.locate(self._where[name], name)
        if entry.dtype not in _BITS:
            raise NotComputedError(f"{name} is in the format {entry.dtype}", field=files.WEIGHTS)
        # Copy-on-write only because torch warns of memory that it may not write.
        bits = np.memmap(self._where[name], _BITS[entry.dtype], "c", entry.offset, entry.shape)
        return Stored(bits, entry.dtype)

    def _norm(self, name: str) -> Floats:
        return self._stored(f"{name}.weight").floats().copy()

    def _affine(self, *names: str) -> Affine:
        biases = [self._stored(f"{name}.bias") for name in names if f"{name}.bias" in self._where]
        return Affine(joined([self._stored(f"{name}.weight") for name in names]), joined(biases) if biases else None)


def joined(parts: list[Stored]) -> Stored:
    """Return one weight after the other as one; all are of one format."""
    return parts[0] if len(parts) == 1 else Stored(np.concatenate([part.bits for part in parts]), parts[0].format)


def _known(config: LlamaConfig) -> set[str]:
    attention = [f"self_attn.{name}_proj.{kind}" for name in "qkvo" for kind in ("weight", "bias")]
    mlp = [f"mlp.{name}_proj.{kind}" for name in ("gate", "up", "down") for kind in ("weight", "bias")]
    norms = ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"]
    parts = [*attention, *mlp, *(f"{norm}.weight" for norm in norms), "self_attn.rotary_emb.inv_freq"]
    layers = {f"model.layers.{i}.{part}" for i in range(config.num_hidden_layers) for part in parts}
    return layers | {_EMBEDDING, "model.norm.weight", "lm_head.weight"}
