"""Layers that compute one character at a time as fast as PyTorch's operators allow.

Shapes: N streams, G gates, H hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import linear

from charrnn.model.gate_weights import GateWeights
from charrnn.model.private_torch import PackedLinear, pack_linear

PACKED_FROM = 4  # streams; below it, oneDNN's fixed cost of about 10 µs a product outweighs what it saves


class Product:
    """x ↦ x·Wᵀ for x (N, in) and W (out, in). W is kept transposed, to be read in order where N is 1."""

    def __init__(self, weight: Tensor):
        self._transposed = weight.T.contiguous()

    def plus(self, bias: Tensor, x: Tensor) -> Tensor:
        """Return bias + x·Wᵀ, with bias (out,)."""
        return torch.addmm(bias, x, self._transposed)

    def plus_into(self, target: Tensor, bias: Tensor, x: Tensor) -> None:
        """Set target (N, out) to bias + x·Wᵀ."""
        torch.addmm(bias, x, self._transposed, out=target)

    def add_to(self, target: Tensor, x: Tensor) -> None:
        """Add x·Wᵀ to target (N, out)."""
        target.addmm_(x, self._transposed)


class _PackedProduct(Product):
    """The same through oneDNN, with W in oneDNN's blocked layout.

    PyTorch's float32 products on a CPU go through MKL, which leaves AVX-512 unused on processors that are not Intel's.
    With 64 streams oneDNN is about twice as fast there.
    """

    def __init__(self, linear: PackedLinear):
        self._linear = linear

    def plus(self, bias: Tensor, x: Tensor) -> Tensor:
        return self._linear(x, bias)

    def plus_into(self, target: Tensor, bias: Tensor, x: Tensor) -> None:
        target.copy_(self._linear(x, bias))

    def add_to(self, target: Tensor, x: Tensor) -> None:
        target.add_(self._linear(x, None))


def product(weight: Tensor, streams: int) -> Product:
    """Return the fastest product by a weight for this number of streams."""
    linear = pack_linear(weight, streams) if streams >= PACKED_FROM else None
    return Product(weight) if linear is None else _PackedProduct(linear)


class FastLayer(ABC):
    """A copy of a layer's weights, and scratch memory, for N streams.

    incoming: (N, G·H); before `step` it holds what the layer's input contributes to the gates, bias included.
    """

    def __init__(self, weights: GateWeights, streams: int):
        self.hidden_size = weights.hidden.shape[1]
        self.input_weight = weights.input.clone()
        self.input_bias = weights.input_bias.clone()
        self.hidden_bias = weights.hidden_bias.clone()
        self.from_hidden = product(weights.hidden, streams)
        self.incoming = self.input_bias.new_empty(streams, len(self.input_bias))

    def read(self, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return every part of the state after each character, (T, N, H) each. inputs: (T, N, in)."""
        recorded = tuple(part.new_empty(len(inputs), *part.shape) for part in state)
        for place, contribution in enumerate(linear(inputs, self.input_weight, self.input_bias)):
            self.incoming.copy_(contribution)
            state = self.step(*state)
            for whole, part in zip(recorded, state, strict=True):
                whole[place] = part
        return recorded

    @abstractmethod
    def step(self, *state: Tensor) -> tuple[Tensor, ...]:
        """Return the state after the character whose contribution is in `incoming`, which is overwritten."""
