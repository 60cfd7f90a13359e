"""What a network does when a cell is held at one value: cause, where a score shows only company.

A clamp is an edit of the weights, so that the edited network is read, scored and sampled from at full speed like any
other. h of a cell is what others read of it: its column in this layer's recurrent matrix and in what comes next (the
next layer's input matrix, or the output layer's) is taken out, and what the column would have added goes to the bias.
c of an LSTM's cell is what its own gates make of it, so these are fixed: with i = 1, f = 0 and g = a is c = a, always,
and h = o · tanh(a) still says it when the output gate is open.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.errors import UsageError
from charrnn.inspection.trace import Cell, find_cell, find_signal
from charrnn.model.network import CharRNN, State, gate_rows

SHUT_OR_OPEN = 40.0  # of a gate: σ(−40) is 4·10⁻¹⁸, and 1 − σ(40) is lost in rounding


@dataclass(frozen=True)
class Clamp:
    """A cell held at a value after every character. signal: "h", or "c" of an LSTM, for which −1 < value < 1."""

    cell: Cell
    value: float
    signal: str = "h"


@torch.no_grad()
def clamped(network: CharRNN, clamps: Sequence[Clamp], state: State | None = None) -> tuple[CharRNN, State]:
    """A copy of a network in which some cells are held, and the state it starts from; the network stays as it is.

    state: to start from, (B, H) each; None is that of one stream before any character. It comes back with the values of
    the cells that are held; nothing reads them, so that a start from zeros gives the same text and the same scores.

    Holding h, the cell's own h in a trace is what it would be if it were not overwritten, and which no other cell
    reads; so with its gates, and with c. Holding c, all its signals but i, f, g and c are as they come out.

    Raises UsageError where there is no such cell or signal, a value is out of bounds, or a cell is held at two values.
    """
    for clamp in clamps:
        _check(clamp, network)
    if len({(clamp.cell, clamp.signal) for clamp in clamps}) < len(clamps):
        raise UsageError("a cell cannot be held at two values", "clamp each signal of it once")
    edited = copy.deepcopy(network)
    state = network.initial_state(1) if state is None else state
    state = tuple(tuple(part.clone() for part in layer) for layer in state)
    for clamp in sorted(clamps, key=lambda one: one.signal, reverse=True):  # h first: c sets biases that h adds to
        if clamp.signal == "h":
            _hold_h(edited, clamp)
        else:
            _hold_c(edited, clamp)
        state[clamp.cell.layer - 1]["hc".index(clamp.signal)][:, clamp.cell.index] = clamp.value
    return edited, state


def _check(clamp: Clamp, network: CharRNN) -> None:
    settings = network.settings
    find_cell(str(clamp.cell), settings.layers, settings.hidden_size)
    find_signal(clamp.signal, settings.recurrence)
    held = f"{clamp.signal} of cell {clamp.cell}"
    if clamp.signal not in ("h", "c"):
        raise UsageError(f"{held} cannot be held", "clamp its h, or c of an lstm")
    if clamp.signal == "c" and not abs(clamp.value) < 1:
        raise UsageError(f"{held} cannot be held at {clamp.value:g}", "give a value between -1 and 1")
    if not math.isfinite(clamp.value):
        raise UsageError(f"{held} cannot be held at {clamp.value:g}", "give a finite value")


def _hold_h(network: CharRNN, clamp: Clamp) -> None:
    """Makes constant what this layer and the next read of a cell."""
    layer, index = network.recurrences[clamp.cell.layer - 1], clamp.cell.index
    _fold(layer.weight_hh_l0, layer.bias_hh_l0, index, clamp.value)
    if clamp.cell.layer < network.settings.layers:
        above = network.recurrences[clamp.cell.layer]
        _fold(above.weight_ih_l0, above.bias_ih_l0, index, clamp.value)
    else:
        _fold(network.output.weight, network.output.bias, index, clamp.value)


def _fold(weight: Tensor, bias: Tensor, column: int, value: float) -> None:
    """Moves what a constant input adds from a weight's column to the bias."""
    bias += value * weight[:, column]
    weight[:, column] = 0


def _hold_c(network: CharRNN, clamp: Clamp) -> None:
    """Makes constant the gates that an LSTM's cell state is made by."""
    layer = network.recurrences[clamp.cell.layer - 1]
    fixed = {"input": SHUT_OR_OPEN, "forget": -SHUT_OR_OPEN, "candidate": math.atanh(clamp.value)}
    for gate, bias in fixed.items():
        row = gate_rows("lstm", gate, network.settings.hidden_size).start + clamp.cell.index
        layer.weight_ih_l0[row] = layer.weight_hh_l0[row] = 0
        layer.bias_ih_l0[row] = bias
        layer.bias_hh_l0[row] = 0
