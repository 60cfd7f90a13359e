"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from charrnn.model.fast_layer import FastLayer
from charrnn.model.gate_weights import GateWeights, gate_weights
from charrnn.model.recurrences.base import SIGMOID, SIGNED, TANH, LayerState, Recurrence, register


@register
class GRU(Recurrence):
    """Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) in the form of cuDNN and `torch.nn.GRU`.

    The reset gate multiplies the recurrent product, bias included, instead of h before the product.
    """

    name = "gru"
    title = "gated recurrent unit"
    state_parts: ClassVar = {"h": SIGNED}
    gates: ClassVar = {"reset": SIGMOID, "update": SIGMOID, "candidate": TANH}
    required_gates: ClassVar = {"candidate": ("reset", "candidate")}
    memory_gate = "update"
    javascript = """(x, h, state) => {
      const reset = sigmoid(x.reset + h.reset);
      const update = sigmoid(x.update + h.update);
      const candidate = tanh(x.candidate + reset * h.candidate);
      return { reset, update, candidate, h: (1 - update) * candidate + update * state.h };
    }"""

    def build(self, input_size: int, hidden_size: int) -> nn.Module:
        return nn.GRU(input_size, hidden_size)

    def gate_values(self, from_input: Mapping[str, Tensor], from_hidden: Mapping[str, Tensor]) -> dict[str, Tensor]:
        others = {gate: values for gate, values in from_input.items() if gate != "candidate"}
        gates = super().gate_values(others, from_hidden)
        if "candidate" in from_input:
            gates["candidate"] = torch.tanh(from_input["candidate"] + gates["reset"] * from_hidden["candidate"])
        return gates

    def update(self, gates: Mapping[str, Tensor], *state: Tensor) -> LayerState:
        (h,) = state
        return ((1 - gates["update"]) * gates["candidate"] + gates["update"] * h,)

    def fast_layer(self, layer: nn.Module, streams: int) -> FastLayer:
        return _FastGRU(gate_weights(layer), streams)


class _FastGRU(FastLayer):
    def __init__(self, weights: GateWeights, streams: int):
        super().__init__(weights, streams)
        both = 2 * self.hidden_size
        self.input_bias[:both] += self.hidden_bias[:both]
        self.hidden_bias[:both] = 0  # the candidate's stays apart: the reset gate multiplies it
        product = torch.empty_like(self.incoming)
        self._product, self._product_sigmoids, self._product_n = product, product[:, :both], product[:, both:]
        self._sigmoids, self._n = self.incoming[:, :both], self.incoming[:, both:]
        self._r, self._z = self._sigmoids.chunk(2, dim=1)

    def step(self, *state: Tensor) -> LayerState:
        (h,) = state
        self.from_hidden.plus_into(self._product, self.hidden_bias, h)
        self._sigmoids.add_(self._product_sigmoids).sigmoid_()
        self._n.addcmul_(self._r, self._product_n).tanh_()
        return (torch.lerp(self._n, h, self._z),)
