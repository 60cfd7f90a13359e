"""Private and recent functions of PyTorch, each with a fallback for releases that lack it.

No other module uses one. A fallback gives the same numbers up to rounding, and takes longer.

| function | purpose | fallback |
|---|---|---|
| `torch.ops.mkldnn._reorder_linear_weight`, `_linear_pointwise` | products of several rows on a CPU | `torch.addmm` |
| `torch._fused_adamw_` | AdamW without `torch.optim`, which imports the compiler | separate operations |
| `torch._foreach_*_` | one operation on many tensors | a loop |
| `torch.backends.….fp32_precision` | TF32 on and off | `allow_tf32` |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PackedLinear = Callable[[Tensor, Tensor | None], Tensor]
"""(x, bias) → x·Wᵀ + bias."""

IGNORES_FOUND_INF = ("mps",)  # devices whose AdamW kernel ignores `grad_scale` and `found_inf`


def pack_linear(weight: Tensor, rows: int) -> PackedLinear | None:
    """Return a product by a weight in oneDNN's layout, made for inputs of this many rows; None if not available.

    The operators are those that `torch.compile` emits.
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


def foreach_(method: str, tensors: Sequence[Tensor], others: Sequence[Tensor] | Tensor | float) -> None:
    """Apply an in-place method such as `add_` to each tensor, with its own argument or one for all."""
    fused = getattr(torch, f"_foreach_{method}", None)
    if fused is not None:
        fused(tensors, others)
        return
    each = others if isinstance(others, Sequence) else [others] * len(tensors)
    for tensor, other in zip(tensors, each, strict=True):
        getattr(tensor, method)(other)


def adamw_(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    grad_scale: Tensor,
    found_inf: Tensor,
    **options: float,
) -> None:
    """Update parameters and their moments by AdamW, in place, with gradients divided by `grad_scale`.

    steps: updates made so far, increased by one. found_inf: 1.0 where nothing may change, else 0.0. options: lr, beta1,
    beta2, weight_decay, eps. Waits for the device only where its kernel ignores `found_inf`.
    """
    if found_inf.device.type in IGNORES_FOUND_INF:
        if found_inf.item():
            return
        foreach_("div_", gradients, grad_scale)
        details: dict[str, Any] = {**options, "grad_scale": None, "found_inf": None}
    else:
        details = {**options, "grad_scale": grad_scale, "found_inf": found_inf}
    foreach_("add_", steps, 1)
    kernel = getattr(torch, "_fused_adamw_", _no_kernel)
    try:
        kernel(parameters, gradients, exp_avgs, exp_avg_sqs, [], steps, amsgrad=False, maximize=False, **details)
    except TypeError:  # raised for unknown arguments, before anything is changed
        for tensors in zip(parameters, gradients, exp_avgs, exp_avg_sqs, steps, strict=True):
            _plain_adamw(*tensors, **details)
    if details["found_inf"] is not None:
        foreach_("sub_", steps, [found_inf] * len(steps))


def _no_kernel(*_: object, **__: object) -> None:
    raise TypeError


def _plain_adamw(
    parameter: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
    /,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    eps: float,
    grad_scale: Tensor | None,
    found_inf: Tensor | None,
) -> None:
    """Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2."""
    gradient = gradient if grad_scale is None else gradient / grad_scale
    first = exp_avg.lerp(gradient, 1 - beta1)
    second = exp_avg_sq.lerp(gradient.square(), 1 - beta2)
    root = second.sqrt() / (1 - beta2**step).sqrt() + eps
    updated = parameter * (1 - lr * weight_decay) - lr / (1 - beta1**step) * first / root
    for old, new in ((parameter, updated), (exp_avg, first), (exp_avg_sq, second)):
        old.copy_(new if found_inf is None else torch.where(found_inf > 0, old, new))


def set_fp32_precision(value: str) -> None:
    """Set the precision of float32 products of CUDA matrices and cuDNN: "ieee" or "tf32".

    All are set, because PyTorch raises an error where cuDNN's two differ.
    """
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision") and hasattr(backends.cudnn, "rnn"):
        for backend in (backends.cudnn.rnn, backends.cudnn.conv, backends.cuda.matmul):
            backend.fp32_precision = value
    else:
        for backend in (backends.cudnn, backends.cuda.matmul):
            backend.allow_tf32 = value == "tf32"
