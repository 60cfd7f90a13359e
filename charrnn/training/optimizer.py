"""AdamW by the kernel of `torch.optim.AdamW(fused=True)`, without importing `torch.optim`.

`torch.optim` imports PyTorch's compiler when the first optimizer is made: 70 MB of memory and, where this was measured,
three seconds before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from charrnn.model.private_torch import adamw_

EPSILON = 1e-8


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2).

    state: parameter → `step` (updates made), `exp_avg`, `exp_avg_sq` (first and second moments).
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]], betas: tuple[float, float]):
        """groups: parameters and their weight decay."""
        self._groups, self._betas = groups, betas
        self.state: dict[Tensor, dict[str, Tensor]] = {
            parameter: {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
            for parameters, _ in groups
            for parameter in parameters
        }

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, skipped_step: Tensor, divisor: Tensor) -> None:
        """Make one update with gradients divided by `divisor`, a float32 number.

        skipped_step: 1.0 to change nothing, else 0.0. Both are on the device.
        """
        for parameters, weight_decay in self._groups:
            states = [self.state[parameter] for parameter in parameters]
            adamw_(
                parameters,
                [parameter.grad for parameter in parameters if parameter.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["step"] for state in states],
                grad_scale=divisor,
                found_inf=skipped_step,
                lr=learning_rate,
                beta1=self._betas[0],
                beta2=self._betas[1],
                weight_decay=weight_decay,
                eps=EPSILON,
            )
