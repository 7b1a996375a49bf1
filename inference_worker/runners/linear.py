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

    from inference_worker.runners.llama_weights import Affine, Stored

    Linear = Callable[[torch.Tensor], torch.Tensor]

_ROWS_HINT = 8
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def packs(dtype: torch.dtype) -> bool:
    """Whether this machine has fast packed products for a number format."""
    return bool(
        dtype is torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    )


def tensor(stored: Stored) -> torch.Tensor:
    """Return numbers of a file as a tensor on the file's own pages."""
    return torch.from_numpy(stored.bits).view(_DTYPES[stored.format])


def linear(affine: Affine, dtype: torch.dtype, device: torch.device) -> Linear:
    """Return `x -> x @ weight.T + bias` for `x` of shape `[rows, in]`, in a number format and on a device."""
    mapped = tensor(affine.weight)
    weight = mapped.to(device, dtype)
    bias = None if affine.bias is None else tensor(affine.bias).to(device, dtype, copy=True)
    if device.type == "cpu" and packs(dtype):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS_HINT)  # noqa: SLF001
        product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001

        def apply(x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = product(x, packed, bias, "none", [], "")
            return result

        return apply
    # A copy of its own where this is still the file's: pages of files may be dropped and read anew in a step.
    own = weight.clone() if weight.data_ptr() == mapped.data_ptr() else weight

    def apply_plain(x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, own, bias)

    return apply_plain
