"""Rotary positions (RoFormer, arXiv:2104.09864): the frequencies that a config asks for, and the factors of each position."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_worker.errors import NotComputedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from inference_worker.runners.families import LlamaConfig

    Config = Mapping[str, Any]
    Floats = npt.NDArray[np.float32]


def factors(config: LlamaConfig, positions: int) -> tuple[Floats, Floats]:
    """Return cosines and sines, `[positions, head_dim / 2]` each."""
    angles = np.outer(np.arange(positions, dtype=np.float32), np.array(config.frequencies, dtype=np.float32))
    scale = np.float32(config.rotary_scale)
    return np.cos(angles) * scale, np.sin(angles) * scale


def frequencies(config: Config, dim: int) -> tuple[list[float], float]:
    """Return the frequencies, `[dim / 2]`, and the scale of the factors; definitions are those of transformers.

    Raises:
        NotComputedError: the config asks for a kind that is not computed here.
    """
    rope: dict[str, Any] = {"rope_theta": config.get("rope_theta", 10_000.0)}
    rope |= config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    plain = [rope["rope_theta"] ** (-i / dim) for i in range(0, dim, 2)]
    match kind:
        case "default":
            return plain, 1.0
        case "linear":
            return [frequency / rope["factor"] for frequency in plain], 1.0
        case "llama3":
            return [_llama3(frequency, rope) for frequency in plain], 1.0
        case "yarn":
            return _yarn(plain, rope, dim)
    raise NotComputedError(f"rotary positions of the kind {kind!r} are not computed here", field="rope_scaling")


def _llama3(frequency: float, rope: dict[str, float]) -> float:
    """Slow frequencies are stretched, fast ones kept, those between blended (Llama 3.1)."""
    turns = rope["original_max_position_embeddings"] * frequency / (2 * math.pi)
    kept = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    kept = min(max(kept, 0.0), 1.0)
    return frequency * (kept + (1 - kept) / rope["factor"])


def _yarn(plain: list[float], rope: dict[str, Any], dim: int) -> tuple[list[float], float]:
    """Blend stretched and kept frequencies by how often each turns (YaRN, arXiv:2309.00071)."""
    factor, length = rope["factor"], rope["original_max_position_embeddings"]

    def place(turns: float) -> float:
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(rope["rope_theta"]))

    low, high = place(rope.get("beta_fast") or 32), place(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    spread = high - low or 0.001
    blended = []
    for i, frequency in enumerate(plain):
        stretched = min(max((i - low) / spread, 0.0), 1.0)
        blended.append(frequency * (1 - stretched + stretched / factor))
    scale = rope.get("attention_factor")
    if scale is None:
        one, all_dims = rope.get("mscale"), rope.get("mscale_all_dim")
        scale = _mscale(factor, one) / _mscale(factor, all_dims) if one and all_dims else _mscale(factor, 1)
    return blended, float(scale)


def _mscale(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1
