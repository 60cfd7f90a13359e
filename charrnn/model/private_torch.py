"""Every private function of PyTorch that is used, each with a public one in its place where a release lacks it.

Nothing else in the package names a private function. A release may drop one or change its arguments: each is tried
before it is used, or looked up by name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PackedLinear = Callable[[Tensor, Tensor | None], Tensor]
"""(x, bias) → x·Wᵀ + bias."""


def pack_linear(weight: Tensor, rows: int) -> PackedLinear | None:
    """Return a product by a weight in oneDNN's layout, made for inputs of this many rows; None where there is none.

    `torch.ops.mkldnn._reorder_linear_weight` and `_linear_pointwise` are the operators that `torch.compile` emits.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight.default(weight.contiguous(), rows)
        operator = torch.ops.mkldnn._linear_pointwise.default

        def linear(x: Tensor, bias: Tensor | None) -> Tensor:
            product: Tensor = operator(x, packed, bias, "none", [], "")
            return product

        linear(weight.new_zeros(rows, weight.shape[1]), None)
    except (AttributeError, TypeError, RuntimeError):
        return None
    return linear
