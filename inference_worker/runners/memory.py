"""Memory for caches and weights."""

from __future__ import annotations

import mmap
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_HUGE: Final = 2**21
"""Bytes of a huge page."""
_PIECE: Final = 16 * _HUGE
_LINE: Final = 64


def lazy_memory(size: int) -> mmap.mmap:
    """Return zeros whose memory the operating system hands out page by page as it is touched."""
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A huge page would be filled by the first token of a slot.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


class Arena:
    """Arrays side by side in huge pages, where the operating system has them.

    Weights are read whole in each step, and with small pages some 5 % of it is looking up where they lie.
    """

    def __init__(self) -> None:
        self._left: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def array(self, shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
        """Return an array of zeros that begins at a line of the processor's cache."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if size > len(self._left):
            memory = mmap.mmap(-1, max(size, _PIECE) + _HUGE)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with suppress(OSError):  # a kernel without them
                    memory.madvise(mmap.MADV_HUGEPAGE)
            self._left = np.frombuffer(memory, dtype=np.uint8)
            self._left = self._left[-self._left.ctypes.data % _HUGE :]
        taken, self._left = self._left[:size], self._left[size + -size % _LINE :]
        return taken.view(dtype).reshape(shape)
