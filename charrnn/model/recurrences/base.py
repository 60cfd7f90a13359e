"""What a recurrence defines, and the registry of recurrences.

A class under `@register` can be trained, sampled, traced, searched and clamped like the built-in recurrences:

    @register
    class ReLURNN(Recurrence):
        name = "relu-rnn"                        # for `--model` and `ModelSettings`
        title = "network of rectified linear units"
        state_parts = {"h": NON_NEGATIVE}
        gates = {"candidate": RELU}

        def build(self, input_size, hidden_size):
            return nn.RNN(input_size, hidden_size, nonlinearity="relu")

        def update(self, gates, *state):
            return (gates["candidate"],)

The other methods have defaults for modules with the parameters of `torch.nn.RNNBase`. For other parameters, override
all methods that use `gate_weights`.

Shapes: B streams, T characters, I input size, H hidden size, K cells.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from charrnn.errors import UsageError
from charrnn.model.fast_layer import FastLayer
from charrnn.model.gate_weights import GateWeights, fold_column, gate_weights
from charrnn.settings import RECURRENCE_NAMES

LayerState = tuple[Tensor, ...]
"""The parts of one layer's state, (B, H) each, h first."""

Range = tuple[float, float]
"""Least and greatest value: 0 or −x, and x, which may be infinite."""
UNBOUNDED: Range = (-math.inf, math.inf)
SIGNED: Range = (-1.0, 1.0)
UNIT: Range = (0.0, 1.0)
NON_NEGATIVE: Range = (0.0, math.inf)


@dataclass(frozen=True)
class Activation:
    """A nonlinearity and the range of its values."""

    function: Callable[[Tensor], Tensor]
    range: Range

    def __call__(self, values: Tensor) -> Tensor:
        return self.function(values)


SIGMOID = Activation(torch.sigmoid, UNIT)
TANH = Activation(torch.tanh, SIGNED)
RELU = Activation(torch.relu, NON_NEGATIVE)


class Recurrence(ABC):
    """Everything about one kind of recurrent layer. Layers and their state are arguments; an object holds neither."""

    name: ClassVar[str]
    """As in `--model`: lower case letters, digits and hyphens."""
    title: ClassVar[str]
    """In words, for messages."""
    state_parts: ClassVar[Mapping[str, Range]]
    """Part of the state → range of its values. The first is h, which is also the layer's output."""
    gates: ClassVar[Mapping[str, Activation]]
    """Block of H rows of the weight matrices → activation, in order. `candidate` is the new content of the state."""
    required_gates: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Signal → the gates it is computed from, for signals that are computed from others."""
    tanh_signals: ClassVar[tuple[str, ...]] = ()
    """Signals that are displayed as tanh(signal), because the layer uses them so."""
    memory_gate: ClassVar[str | None] = None
    """The gate that the previous state is multiplied by."""
    clampable: ClassVar[tuple[str, ...]] = ("h",)
    """The parts of the state that `clamp` can hold."""
    is_fast_in_bf16_on_cpu: ClassVar[bool] = False
    """Whether bf16 is fast on CPUs with instructions for it, because oneDNN fuses the layer."""
    javascript: ClassVar[str | None] = None
    """The update of one cell as a JavaScript function, for pages that run the network; None: they cannot.

    `(x, h, state, held) => ({…})`, where x and h map each gate to what the input and the hidden state contribute to its
    pre-activation, biases included; state: the parts of the state before; held: the parts of the state that are held,
    by name, except h. It returns the gates and the parts of the state after. `sigmoid`, `tanh` and `relu` are defined.
    A subclass does not inherit it, because its equations may differ."""

    @property
    def own_javascript(self) -> str | None:
        """The JavaScript that this class itself declares."""
        found: str | None = vars(type(self)).get("javascript")
        return found

    # Signals

    @property
    def signals(self) -> tuple[str, ...]:
        """What can be traced of a cell: parts of its state, and gates."""
        return (*self.state_signals, *self.gates)

    @property
    def state_signals(self) -> tuple[str, ...]:
        """The parts of the state, the last one first: c of an LSTM shows more than h."""
        return tuple(self.state_parts)[::-1]

    @property
    def sigmoid_gates(self) -> tuple[str, ...]:
        """The gates with values between 0 and 1."""
        return tuple(gate for gate, activation in self.gates.items() if activation.range == UNIT)

    def find_signal(self, name: str) -> str:
        """Return the signal of this name; `auto` is the first of `signals`. Raise UsageError if unknown."""
        if name == "auto":
            return self.signals[0]
        if name not in self.signals:
            known = ", ".join(self.signals)
            raise UsageError(f"this model ({self.name}) has no signal {name!r}; it has {known}")
        return name

    def displayed(self, signal: str, values: np.ndarray) -> np.ndarray:
        """Return values of a signal as they are displayed."""
        return np.tanh(values) if signal in self.tanh_signals else values

    def displayed_range(self, signal: str) -> Range:
        """Return the range of `displayed`."""
        if signal in self.tanh_signals:
            return SIGNED
        return self.state_parts[signal] if signal in self.state_parts else self.gates[signal].range

    def display_name(self, signal: str) -> str:
        """Return the name of what is displayed, such as `tanh(c)`, `h` or `forget gate`."""
        if signal in self.tanh_signals:
            return f"tanh({signal})"
        return f"{signal} gate" if signal in self.sigmoid_gates else signal

    # The layer

    @abstractmethod
    def build(self, input_size: int, hidden_size: int) -> nn.Module:
        """Return a new layer."""

    @abstractmethod
    def update(self, gates: Mapping[str, Tensor], *state: Tensor) -> LayerState:
        """Return the next state from the gates and the state, by the equations of the paper."""

    @torch.no_grad()
    def initialize(self, layer: nn.Module, generator: torch.Generator) -> None:
        """Draw new weights.

        Recurrent matrices are orthogonal, gate by gate (Saxe et al. 2014, arXiv 1312.6120), so that gradients neither
        vanish nor explode in the first steps. Input matrices are uniform (Glorot & Bengio 2010). Biases are zero.
        """
        hidden_size = gate_weights(layer).hidden.shape[1]
        for gate in self.gates:
            weights = gate_weights(layer, self.gate_rows(gate, hidden_size))
            nn.init.zeros_(weights.input_bias)
            nn.init.zeros_(weights.hidden_bias)
            nn.init.xavier_uniform_(weights.input, generator=generator)
            nn.init.orthogonal_(weights.hidden, generator=generator)

    @torch.no_grad()
    def open_memory(self, layer: nn.Module, bias: float) -> None:
        """Add to the bias of the memory gate, in place. A recurrence without one is left as it is."""
        if self.memory_gate is not None:
            rows = self.gate_rows(self.memory_gate, gate_weights(layer).hidden.shape[1])
            gate_weights(layer, rows).input_bias.add_(bias)

    def unroll(self, layer: nn.Module, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return h after each character, (T, B, H), and the state after the last. inputs: (T, B, I)."""
        carried = tuple(part.unsqueeze(0) for part in state)
        hidden, after = layer(inputs, carried if len(carried) > 1 else carried[0])
        return hidden, tuple(part.squeeze(0) for part in (after if isinstance(after, tuple) else (after,)))

    def step(self, layer: nn.Module, inputs: Tensor, *state: Tensor) -> LayerState:
        """Return the state after one character, by the equations. inputs: (B, I)."""
        return self.update(self._gates(gate_weights(layer), list(self.gates), inputs, state[0]), *state)

    def fast_layer(self, layer: nn.Module, streams: int) -> FastLayer | None:
        """Return a copy of the layer for fast single steps; None: sampling steps through `unroll`."""
        return None

    # Inside the layer

    def gate_rows(self, gate: str, hidden_size: int) -> slice:
        """Return the rows of the weight matrices and biases that compute a gate."""
        block = list(self.gates).index(gate)
        return slice(block * hidden_size, (block + 1) * hidden_size)

    def gate_indices(self, gates: Sequence[str], hidden_size: int, cells: Tensor) -> Tensor:
        """Return the rows that compute these gates of these cells (K,), gate by gate."""
        return torch.cat([self.gate_rows(gate, hidden_size).start + cells for gate in gates])

    def gate_values(self, from_input: Mapping[str, Tensor], from_hidden: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return gates from what the input and the hidden state contribute to their pre-activations."""
        return {gate: self.gates[gate](from_input[gate] + from_hidden[gate]) for gate in from_input}

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
        """Return signals other than h, and the gates they need, (B, T, K) each, from one matrix product.

        cells: indices (K,). inputs: (B, T, I). hidden: h before each character, (B, T, H). state, after: the state
        before the first character and after the last.
        """
        needed = {gate for signal in signals for gate in self.required_gates.get(signal, (signal,))}
        gates = [gate for gate in self.gates if gate in needed]
        if not gates:
            return {}
        return self._gates(
            gate_weights(layer, self.gate_indices(gates, hidden.shape[-1], cells)), gates, inputs, hidden
        )

    def _gates(self, weights: GateWeights, gates: Sequence[str], inputs: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """Return these gates, whose rows the weights are, from the layer's input (…, I) and h before (…, H)."""
        from_input = linear(inputs, weights.input, weights.input_bias).chunk(len(gates), dim=-1)
        from_hidden = linear(hidden, weights.hidden, weights.hidden_bias).chunk(len(gates), dim=-1)
        return self.gate_values(dict(zip(gates, from_input, strict=True)), dict(zip(gates, from_hidden, strict=True)))

    # Clamps: edits of the weights, in place

    def clamp(self, layer: nn.Module, part: str, cell: int, value: float) -> None:
        """Hold a part of a cell's state at a value, in all that the layer itself computes from it."""
        weights = gate_weights(layer)
        fold_column(weights.hidden, weights.hidden_bias, cell, value)

    def clamp_input(self, layer: nn.Module, column: int, value: float) -> None:
        """Hold one input of the layer at a value."""
        weights = gate_weights(layer)
        fold_column(weights.input, weights.input_bias, column, value)


RECURRENCES: dict[str, Recurrence] = {}
"""Name → recurrence."""

R = TypeVar("R", bound=type[Recurrence])


def register(cls: R) -> R:
    """Add a recurrence under its name; a class decorator.

    Defining the same class again replaces it. `charrnn train --help` lists the name if `charrnn.cli` is imported later.
    Raise ValueError if another class has the name.
    """
    known = RECURRENCES.get(cls.name)
    if known is not None and (type(known).__module__, type(known).__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"there is already a recurrence {cls.name!r}: {type(known).__qualname__}")
    RECURRENCES[cls.name] = cls()
    if cls.name not in RECURRENCE_NAMES:
        RECURRENCE_NAMES.append(cls.name)
    return cls


def find_recurrence(name: str) -> Recurrence:
    """Return the recurrence of this name. Raise UsageError if unknown."""
    if name not in RECURRENCES:
        raise UsageError(f"`recurrence` must be one of {', '.join(RECURRENCE_NAMES)}, not {name!r}")
    return RECURRENCES[name]
