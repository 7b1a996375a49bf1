"""Weights in int8, 32 to a scale as in llama.cpp's Q8_0, laid out as the kernels read them (`kernels/int8_product.h`)."""

from __future__ import annotations

from ctypes import c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from inference_worker.runners.llama_weights import Affine, Stored

if TYPE_CHECKING:
    import ctypes

    import numpy.typing as npt

    from inference_worker.runners.memory import Arena

GROUP: Final = 32
"""Inputs that share a scale."""
LANES: Final = 16
"""Outputs that are made at once."""
PAIR: Final = 2 * LANES
"""Outputs come in whole pairs of vectors."""
_AT_ONCE: Final = 128 * PAIR
"""Rows that stand in memory as float32 while a weight is packed."""


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """One packed weight.

    Attributes:
        weights: uint8, 128 added, `[outputs / 16, inputs / 32, 8, 16, 4]`.
        scales: bits of bfloat16, `[outputs / 16, inputs / 32, 16]`.
        bias: float32, `[outputs]`, or None.
        inputs: how many.
        outputs: how many, rounded up to whole pairs of vectors.
    """

    weights: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.uint16]
    bias: npt.NDArray[np.float32] | None
    inputs: int
    outputs: int


def pack(kernels: ctypes.CDLL, affine: Affine, arena: Arena, threads: int) -> Int8Weight:
    """Round a weight, `[outputs, inputs]`, and lay it out; the inputs are whole groups."""
    held, inputs = affine.weight.bits.shape
    lacking = -held % PAIR
    outputs, groups = held + lacking, inputs // GROUP
    weights = arena.array((outputs // LANES, groups, GROUP // 4, LANES, 4), np.uint8)
    scales = arena.array((outputs // LANES, groups, LANES), np.uint16)
    for start in range(0, outputs, _AT_ONCE):
        rows = affine.weight.floats(slice(start, start + _AT_ONCE))
        rows = np.ascontiguousarray(np.pad(rows, ((0, -len(rows) % PAIR), (0, 0))))
        places = [c_void_p(array.ctypes.data) for array in (rows, weights[start // LANES :], scales[start // LANES :])]
        kernels.pack(places[0], len(rows) // LANES, inputs, *places[1:], threads)
    bias = None if affine.bias is None else np.pad(affine.bias.floats(), (0, lacking))
    return Int8Weight(weights, scales, bias, inputs, outputs)


def in_turns(gate: Affine, up: Affine) -> Affine:
    """Make two weights one, whose outputs come from the one and the other in turns of 16."""

    def both(one: Stored, other: Stored) -> Stored:
        pair = [part.bits.reshape(-1, LANES, *part.bits.shape[1:]) for part in (one, other)]
        return Stored(np.stack(pair, axis=1).reshape(-1, *one.bits.shape[1:]), one.format)

    bias = None if gate.bias is None or up.bias is None else both(gate.bias, up.bias)
    return Affine(both(gate.weight, up.weight), bias)
