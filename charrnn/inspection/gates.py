"""How often each gate is shut or wide open: the gate_saturation figure of Karpathy, Johnson & Fei-Fei 2015 (arXiv
1506.02078). A cell whose forget gate is nearly always open keeps what it holds; one whose output gate is nearly always
shut rarely speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell, all_cells, trace
from charrnn.model.network import CharRNN
from charrnn.model.recurrences import RECURRENCES
from charrnn.text.encoded_text import EncodedText

SHUT, OPEN = 0.1, 0.9
LEFT_OUT = 500  # characters at the beginning, while the state is still that of no text


@dataclass(frozen=True)
class GateSaturation:
    """Of one gate the share of characters (U,) at which it is shut (below .1) and wide open (above .9), by cell."""

    gate: str
    shut: np.ndarray
    open: np.ndarray


def gate_saturation(network: CharRNN, text: EncodedText, cells: Sequence[Cell] | None = None) -> list[GateSaturation]:
    """Of every gate of these cells (None: all, layer by layer) over a text: ids (N,), or documents.

    Raises CharrnnError where the recurrence has no gates.
    """
    gates = network.recurrence.sigmoid_gates
    if not gates:
        others = ", ".join(name for name, recurrence in RECURRENCES.items() if recurrence.sigmoid_gates)
        raise CharrnnError(f"a {network.recurrence.title} has no gates", f"models that have gates: {others}")
    number = len(all_cells(network) if cells is None else cells)
    shut, wide = ({gate: np.zeros(number, np.int64) for gate in gates} for _ in range(2))
    skipped = min(LEFT_OUT, len(text) // 2)
    for chunk in trace(network, text, signals=gates, cells=cells):
        for gate in gates:
            values = chunk.signals[gate][max(0, skipped - chunk.start) :]
            shut[gate] += (values < SHUT).sum(axis=0)
            wide[gate] += (values > OPEN).sum(axis=0)
    counted = max(1, len(text) - skipped)
    return [GateSaturation(gate, shut[gate] / counted, wide[gate] / counted) for gate in gates]
