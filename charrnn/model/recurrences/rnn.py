"""The plain recurrent network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from charrnn.model.fast_layer import FastLayer
from charrnn.model.gate_weights import GateWeights, gate_weights
from charrnn.model.recurrences.base import SIGNED, TANH, Activation, LayerState, Recurrence, register


@register
class RNN(Recurrence):
    """The simple recurrent network (Elman 1990)."""

    name = "rnn"
    title = "plain recurrent network"
    state_parts: ClassVar = {"h": SIGNED}
    gates: ClassVar = {"candidate": TANH}
    javascript = """(x, h) => {
      const candidate = tanh(x.candidate + h.candidate);
      return { candidate, h: candidate };
    }"""

    def build(self, input_size: int, hidden_size: int) -> nn.Module:
        return nn.RNN(input_size, hidden_size)

    def update(self, gates: Mapping[str, Tensor], *state: Tensor) -> LayerState:
        return (gates["candidate"],)

    def fast_layer(self, layer: nn.Module, streams: int) -> FastLayer:
        return _FastRNN(gate_weights(layer), streams, self.gates["candidate"])


class _FastRNN(FastLayer):
    def __init__(self, weights: GateWeights, streams: int, activation: Activation):
        super().__init__(weights, streams)
        self.input_bias += self.hidden_bias
        self._activation = activation.function

    def step(self, *state: Tensor) -> LayerState:
        (h,) = state
        self.from_hidden.add_to(self.incoming, h)
        return (self._activation(self.incoming),)
