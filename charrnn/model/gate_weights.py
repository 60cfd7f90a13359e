"""The weights of a recurrent layer, laid out as `torch.nn.RNNBase` has them: a block of H rows for each gate.

Shapes: G gates, H hidden size, I input size.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class GateWeights(NamedTuple):
    """The four parameters of a layer, or the same rows of each."""

    input: Tensor
    """(G·H, I)"""
    hidden: Tensor
    """(G·H, H)"""
    input_bias: Tensor
    """(G·H,)"""
    hidden_bias: Tensor
    """(G·H,)"""


def gate_weights(layer: nn.Module, rows: slice | Tensor | int = slice(None)) -> GateWeights:
    """Return rows of a layer's parameters: views for a slice, copies for a tensor of indices."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return GateWeights(*(layer.get_parameter(name)[rows] for name in names))


def fold_column(weight: Tensor, bias: Tensor, column: int, value: float) -> None:
    """Replace an input by a constant, in place: its column becomes zero and the bias takes what it contributed."""
    bias += value * weight[:, column]
    weight[:, column] = 0
