"""AdamW: the kernel that `torch.optim.AdamW(fused=True)` calls, without what stands around it.

`torch.optim` imports PyTorch's compiler when the first optimizer is made, which nothing here uses: 70 MB of memory and,
on the machine where this was measured, three seconds before the first step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-8
SUPPORTS_FOUND_INF = (
    "cpu",
    "cuda",
)  # devices whose kernel does not pass over `grad_scale` and `found_inf`; Apple's GPU's does


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2).

    state: parameter → `step` (updates made), `exp_avg`, `exp_avg_sq` (first and second moments).
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]], betas: tuple[float, float]):
        """groups: parameters, and the weight decay of these."""
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
        """Forgets the gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float, skipped_step: Tensor, divisor: Tensor) -> None:
        """One update, with gradients divided by `divisor`, of one float32 number. skipped_step: 1.0 where nothing may
        change, else 0.0. Both are on the device, which is waited for only where its kernel cannot be told."""
        supports_found_inf = skipped_step.device.type in SUPPORTS_FOUND_INF
        if not supports_found_inf and skipped_step.item():
            return
        for parameters, weight_decay in self._groups:
            states = [self.state[parameter] for parameter in parameters]
            steps = [state["step"] for state in states]
            gradients = [parameter.grad for parameter in parameters]
            if not supports_found_inf:
                torch._foreach_div_(gradients, divisor)
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                list(parameters),
                gradients,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=learning_rate,
                beta1=self._betas[0],
                beta2=self._betas[1],
                weight_decay=weight_decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
                grad_scale=divisor if supports_found_inf else None,
                found_inf=skipped_step if supports_found_inf else None,
            )
            if supports_found_inf:
                torch._foreach_sub_(steps, [skipped_step] * len(steps))
