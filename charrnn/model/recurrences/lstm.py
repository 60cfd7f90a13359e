"""Long short-term memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.errors import CharrnnError
from charrnn.model.fast_layer import FastLayer
from charrnn.model.gate_weights import GateWeights, gate_weights
from charrnn.model.recurrences.base import SIGMOID, SIGNED, TANH, UNBOUNDED, LayerState, Recurrence, register

SATURATED = 40.0  # a pre-activation: σ(−40) is 4·10⁻¹⁸, and 1 − σ(40) is lost in rounding
DRIFT = 1e-3  # between c of the scan and c of the layer


@register
class LSTM(Recurrence):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers, Schmidhuber & Cummins 2000).

    Initially the forget gate's bias is zero like the others: with 1, as Jozefowicz et al. 2015 advise, a training of
    minutes ends worse (tests/benchmarks/PRESETS.md).
    """

    name = "lstm"
    title = "long short-term memory"
    state_parts: ClassVar = {"h": SIGNED, "c": UNBOUNDED}
    gates: ClassVar = {"input": SIGMOID, "forget": SIGMOID, "candidate": TANH, "output": SIGMOID}
    required_gates: ClassVar = {"c": ("input", "forget", "candidate")}
    tanh_signals = ("c",)
    memory_gate = "forget"
    clampable = ("h", "c")
    is_fast_in_bf16_on_cpu = True
    javascript = """(x, h, state, held) => {
      const input = sigmoid(x.input + h.input);
      const forget = sigmoid(x.forget + h.forget);
      const candidate = tanh(x.candidate + h.candidate);
      const output = sigmoid(x.output + h.output);
      const c = held.c ?? forget * state.c + input * candidate;
      return { input, forget, candidate, output, c, h: output * tanh(c) };
    }"""

    def build(self, input_size: int, hidden_size: int) -> nn.Module:
        return nn.LSTM(input_size, hidden_size)

    def update(self, gates: Mapping[str, Tensor], *state: Tensor) -> LayerState:
        c = gates["forget"] * state[1] + gates["input"] * gates["candidate"]
        return gates["output"] * torch.tanh(c), c

    def fast_layer(self, layer: nn.Module, streams: int) -> FastLayer:
        cells = torch.arange(gate_weights(layer).hidden.shape[1], device=gate_weights(layer).hidden.device)
        rows = self.gate_indices(("input", "forget", "output", "candidate"), len(cells), cells)
        return _FastLSTM(gate_weights(layer, rows), streams)

    def cell_signals(
        self,
        layer: nn.Module,
        signals: Sequence[str],
        cells: Tensor,
        inputs: Tensor,
        hidden: Tensor,
        state: LayerState,
        after: LayerState,
    ) -> dict[str, Tensor]:
        found = super().cell_signals(layer, signals, cells, inputs, hidden, state, after)
        if "c" in signals:
            found["c"] = _scan(found["forget"], found["input"] * found["candidate"], state[1][:, cells])
            expected = after[1][:, cells].to(found["c"])
            drift = (found["c"][:, -1] - expected).abs()
            if not (drift <= DRIFT * (1 + expected.abs())).all():
                raise CharrnnError("c cannot be computed exactly: the weights are too large", "use another checkpoint")
        return found

    def clamp(self, layer: nn.Module, part: str, cell: int, value: float) -> None:
        """Hold h as every recurrence does, or c by fixed gates with i = 1.

        Below 1, f = 0 and g = value. From 1 on, g = ±1 and f = 1 − 1/|value|, so that c = f ⊙ value + g = value. Then c
        has to start from the value.
        """
        if part != "c":
            return super().clamp(layer, part, cell, value)
        if abs(value) < 1:
            forget, candidate = -SATURATED, math.atanh(value)
        else:
            forget = math.log(max(abs(value) - 1, math.exp(-SATURATED)))  # σ(ln(|a| − 1)) = 1 − 1/|a|
            candidate = math.copysign(SATURATED, value)
        hidden_size = gate_weights(layer).hidden.shape[1]
        for gate, bias in (("input", SATURATED), ("forget", forget), ("candidate", candidate)):
            row = self.gate_rows(gate, hidden_size).start + cell
            for weights in gate_weights(layer, slice(row, row + 1)):
                weights.zero_()
            gate_weights(layer).input_bias[row] = bias
        return None


def _scan(forget: Tensor, added: Tensor, before: Tensor) -> Tensor:
    """Return c (B, T, K) by c_t = f_t ⊙ c_{t−1} + added_t, on the CPU: NumPy needs less time for each small operation.

    forget: f (B, T, K). added: i ⊙ g (B, T, K), which may be overwritten. before: c before the first character (B, K).
    """
    kind = torch.promote_types(added.dtype, torch.float32)
    factors, states = (
        np.ascontiguousarray(values.to("cpu", kind).numpy().transpose(1, 0, 2)) for values in (forget, added)
    )
    last = before.to("cpu", kind).numpy()
    carried = np.empty_like(last)
    for factor, current in zip(factors, states, strict=True):
        np.multiply(factor, last, out=carried)
        current += carried
        last = current
    return torch.from_numpy(states.transpose(1, 0, 2))


class _FastLSTM(FastLayer):
    """Gates in the order input, forget, output, candidate: one call for the three sigmoids."""

    def __init__(self, weights: GateWeights, streams: int):
        super().__init__(weights, streams)
        self.input_bias += self.hidden_bias
        self._sigmoids = self.incoming[:, : 3 * self.hidden_size]
        self._i, self._f, self._o, self._g = self.incoming.chunk(4, dim=1)

    def step(self, *state: Tensor) -> LayerState:
        h, c = state
        self.from_hidden.add_to(self.incoming, h)
        self._sigmoids.sigmoid_()
        self._g.tanh_()
        c = torch.mul(self._f, c).addcmul_(self._i, self._g)
        return torch.tanh(c).mul_(self._o), c
