"""How far gradients of an LSTM layer in bf16 are from those in float32, on this CPU.

    python -m tests.benchmarks.gradients 512 1008 1024 1025 1056

Prints the relative error of h, and of the gradients by the input and by both weight matrices. Rounding to bf16 makes
about 0.005.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

INPUTS, STREAMS, CHARACTERS = 64, 16, 4


def results(hidden_size: int) -> list[list[Tensor]]:
    """Return h and the gradients, in float32 and in bf16."""
    torch.manual_seed(0)
    layer, values = nn.LSTM(INPUTS, hidden_size), torch.randn(CHARACTERS, STREAMS, INPUTS)
    found = []
    for is_bf16 in (False, True):
        inputs = values.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            hidden = layer(inputs)[0].float()
        found.append([hidden, *torch.autograd.grad(hidden.sum(), [inputs, layer.weight_ih_l0, layer.weight_hh_l0])])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hidden_sizes", type=int, nargs="+")
    print("hidden size, relative error of h, gradient by input, input weights, recurrent weights")
    for hidden_size in parser.parse_args().hidden_sizes:
        pairs = zip(*results(hidden_size), strict=True)
        print(hidden_size, *(f"{((found - right).norm() / right.norm()).item():.4f}" for right, found in pairs))


if __name__ == "__main__":
    main()
