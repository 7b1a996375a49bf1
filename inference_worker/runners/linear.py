"""Matrix products with constant weights: packed once for the CPU by oneDNN where that pays, plain otherwise.

Packing is what makes bfloat16 fast on a CPU (1.7 times over the plain product at 8 rows) and costs the same from 1 to
8 rows. oneDNN is reached through PyTorch's own operators, which its compiler emits too and which have underscores in
their names; no compiler is needed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Linear = Callable[[torch.Tensor], torch.Tensor]

_ROWS_HINT = 8


def packs(dtype: torch.dtype) -> bool:
    """Whether this machine has fast packed products for a number format."""
    return bool(
        dtype is torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    )


def linear(weight: torch.Tensor) -> Linear:
    """Return `x -> x @ weight.T` for `x` of shape `[rows, in]` and a weight `[out, in]`, which it takes over."""
    if packs(weight.dtype):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS_HINT)  # noqa: SLF001
        product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001

        def apply(x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = product(x, packed, None, "none", [], "")
            return result

        return apply
    own = weight.clone() if weight.storage_offset() or not weight.is_contiguous() else weight

    def apply_plain(x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, own)

    return apply_plain
