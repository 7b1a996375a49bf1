"""Writes a safetensors file of bfloat16 weights one at a time, so that they never stand in memory together; finds one.

Format: https://github.com/huggingface/safetensors#format (length of the header, header in JSON, then the bytes).
The library writes only from weights that are all in memory, and its interface for raw bytes changes between releases.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy.typing as npt

_ALIGNMENT = 8


class Entry(NamedTuple):
    """Where a weight lies: its number format (`BF16`, `F32` …), shape, and offset in the file in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


def locate(file: Path, name: str) -> Entry:
    """Find a weight.

    Raises:
        KeyError: the file has no such weight.
    """
    header, begin = _header(file)
    entry = header[name]
    return Entry(entry["dtype"], tuple(entry["shape"]), begin + entry["data_offsets"][0])


def names(file: Path) -> list[str]:
    """Return the names of all weights."""
    return [name for name in _header(file)[0] if name != "__metadata__"]


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """Return what a file says of its weights, and where their bytes begin."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return msgspec.json.decode(stream.read(length)), 8 + length


def write(file: Path, shapes: Mapping[str, tuple[int, ...]], weights: Iterable[npt.NDArray[np.float32]]) -> None:
    """Write weights, rounded to bfloat16.

    Args:
        file: where to.
        shapes: shape of each weight by name, in the order of `weights`.
        weights: the values; taken one by one.

    Raises:
        ValueError: a weight does not have the shape that was named for it.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (start, end)}
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    with file.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little"))
        out.write(encoded)
        for (name, shape), values in zip(shapes.items(), weights, strict=True):
            if values.shape != shape:
                raise ValueError(f"{name} has the shape {values.shape}, not {shape}")
            out.write(to_bfloat16(values).tobytes())


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round finite float32 to bfloat16, ties to even, as its bits (numpy has no such type)."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
