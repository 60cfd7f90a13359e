"""Gates of cells: how often they are saturated (Karpathy, Johnson & Fei-Fei 2015, arXiv 1506.02078), and how long a
cell's state is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell, all_cells, trace
from charrnn.model.network import CharRNN
from charrnn.model.recurrences import RECURRENCES
from charrnn.text.encoded_text import EncodedText

LEFT, RIGHT = 0.1, 0.9
WARM_UP = 500
"""Characters left out at the start of a text, while the state still depends on its initial value."""


@dataclass(frozen=True, eq=False)
class GateSaturation:
    """Share of characters at which a gate is left-saturated (below .1) and right-saturated (above .9), (K,) each."""

    gate: str
    left: np.ndarray
    right: np.ndarray

    def __repr__(self) -> str:
        return f"<GateSaturation {self.gate}: left {self.left.mean():.2f}, right {self.right.mean():.2f} on average>"


def gate_saturation(network: CharRNN, text: EncodedText, cells: Sequence[Cell] | None = None) -> list[GateSaturation]:
    """Measure every gate of these cells over a text. cells: None: all, layer by layer.

    Raises CharrnnError for a recurrence without gates.
    """
    gates = network.recurrence.sigmoid_gates
    if not gates:
        others = ", ".join(name for name, recurrence in RECURRENCES.items() if recurrence.sigmoid_gates)
        raise CharrnnError(f"a {network.recurrence.title} has no gates", f"models that have gates: {others}")
    number = len(all_cells(network) if cells is None else cells)
    left, right = ({gate: np.zeros(number, np.int64) for gate in gates} for _ in range(2))
    skipped = warm_up(len(text))
    for chunk in trace(network, text, signals=gates, cells=cells):
        for gate in gates:
            values = chunk.signals[gate][max(0, skipped - chunk.start) :]
            left[gate] += (values < LEFT).sum(axis=0)
            right[gate] += (values > RIGHT).sum(axis=0)
    counted = max(1, len(text) - skipped)
    return [GateSaturation(gate, left[gate] / counted, right[gate] / counted) for gate in gates]


def saturation(gate: str, values: np.ndarray) -> GateSaturation:
    """Measure a gate from its values (N, K)."""
    counted = max(1, len(values))
    return GateSaturation(gate, (values < LEFT).sum(axis=0) / counted, (values > RIGHT).sum(axis=0) / counted)


def warm_up(length: int) -> int:
    """Return how many characters are left out at the start of a text of this length."""
    return min(WARM_UP, length // 2)


def memory_length(gate: np.ndarray) -> float:
    """Return for how many characters a cell keeps its state: −1 / median(ln f), f the values (N,) of its memory gate.

    The mean would be dominated by the few characters at which the state is dropped.
    """
    kept = np.clip(gate.astype(np.float64), 1e-12, 1 - 1e-7)
    return float(-1 / np.median(np.log(kept)))
