"""Writes safetensors whose bytes follow from what they hold: the same head is the same file.

The library puts metadata in the order of a hash map, which differs from call to call. So the header is written anew: its
length in eight bytes, then JSON, padded with spaces (https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


def to_bytes(tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> bytes:
    """Return arrays and what is said of them as safetensors."""
    data = save(dict(tensors), dict(metadata))
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:begin]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[begin:]
