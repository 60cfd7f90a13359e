"""Networks in which cells are held at a value, to test what they cause.

A clamp is an edit of the weights, so the edited network is traced, scored and sampled at full speed. For h of a cell,
a constant in the bias replaces the column of every matrix that reads it: the recurrent matrix of its layer, and the
input matrix of the next layer or the output matrix. `Recurrence.clamp`
holds other parts of the state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.errors import UsageError
from charrnn.inspection.trace import Cell, find_cell
from charrnn.model.gate_weights import fold_column
from charrnn.model.network import CharRNN, State, map_state
from charrnn.units import shortened


@dataclass(frozen=True)
class Clamp:
    """A cell held at a value after every character. signal: h, or c of an LSTM."""

    cell: Cell
    value: float
    signal: str = "h"


@torch.no_grad()
def clamped(network: CharRNN, clamps: Sequence[Clamp], state: State | None = None) -> tuple[CharRNN, State]:
    """Return a copy of a network in which cells are held, and the state it starts from.

    state: to start from, (B, H) each; None: the initial state of one stream. The returned state holds the clamped
    values, as does the initial state of the returned network, which every text and document starts from.

    With h clamped, the cell's signals in a trace are those it would have if h were not overwritten. With c clamped,
    i, f, g and c are fixed and o and h are as computed.

    Raises UsageError for an unknown cell or signal, a value out of range, or two values for one cell.
    """
    for clamp in clamps:
        _check(clamp, network)
    if len({(clamp.cell, clamp.signal) for clamp in clamps}) < len(clamps):
        raise UsageError("a cell cannot be clamped to two values", "clamp each of its signals once")
    edited = copy.deepcopy(network)
    state = map_state(Tensor.clone, network.initial_state(1) if state is None else state)
    parts = tuple(network.recurrence.state_parts)
    for clamp in sorted(clamps, key=lambda clamp: parts.index(clamp.signal)):  # h first: it adds to biases that c sets
        _hold(edited, clamp)
        layer, part, cell = clamp.cell.layer - 1, parts.index(clamp.signal), clamp.cell.index
        edited.held[layer, part, cell] = clamp.value
        state[layer][part][:, cell] = clamp.value
    return edited, state


def _check(clamp: Clamp, network: CharRNN) -> None:
    settings, recurrence = network.settings, network.recurrence
    find_cell(str(clamp.cell), settings.layers, settings.hidden_size)
    recurrence.find_signal(clamp.signal)
    what = f"{clamp.signal} of cell {clamp.cell}"
    if clamp.signal not in recurrence.clampable:
        raise UsageError(f"{what} cannot be clamped", f"clamp {' or '.join(recurrence.clampable)}")
    try:
        is_finite = math.isfinite(clamp.value)
    except (TypeError, ValueError, OverflowError):  # not a number, or 10**400
        is_finite = False
    if not is_finite:
        raise UsageError(f"{what} cannot be clamped to {shortened(clamp.value)}", "give a finite number")


def _hold(network: CharRNN, clamp: Clamp) -> None:
    recurrence, layer, index = network.recurrence, clamp.cell.layer, clamp.cell.index
    recurrence.clamp(network.recurrences[layer - 1], clamp.signal, index, clamp.value)
    if clamp.signal != "h":
        return
    if layer < network.settings.layers:
        recurrence.clamp_input(network.recurrences[layer], index, clamp.value)
    else:
        fold_column(network.output.weight, network.output.bias, index, clamp.value)
