"""What is known of a cell before one looks at it: how long it remembers, what it pushes, where it fails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.naming import Evidence
from charrnn.discovery.search import memory
from charrnn.inspection.gates import LEFT_OUT, GateSaturation, gate_saturation
from charrnn.inspection.trace import Cell, trace
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import Property, Text
from charrnn.text.encoded_text import EncodedText

PUSHED = 5
MISSES = 3
APART = 80  # characters between two misses that are worth showing both


@dataclass(frozen=True)
class CellProfile:
    """memory: in characters, None where no gate holds. gate_saturation: of the cell's gates. up, down: ids of the characters
    whose logits h of this cell raises and lowers most, with the logits per unit of h; empty below the last layer, from
    which no weight goes to the output."""

    memory: float | None
    gate_saturation: list[GateSaturation]
    up: list[tuple[int, float]]
    down: list[tuple[int, float]]


def cell_profile(network: CharRNN, text: EncodedText, cell: Cell) -> CellProfile:
    """Of a cell, over a text: ids (N,), or documents."""
    gate = network.recurrence.memory_gate
    held = None
    if gate is not None:
        chunks = trace(network, text, signals=[gate], cells=[cell])
        values = np.concatenate([chunk.signals[gate] for chunk in chunks])
        held = memory(values[min(LEFT_OUT, len(text) // 2) :])
    has_gates = bool(network.recurrence.sigmoid_gates)
    up, down = [], []
    if cell.layer == network.settings.layers:
        weights = network.output.weight[:, cell.index].detach().cpu()
        order = torch.argsort(weights, descending=True).tolist()
        up = [(one, float(weights[one])) for one in order[:PUSHED]]
        down = [(one, float(weights[one])) for one in order[::-1][:PUSHED]]
    return CellProfile(held, gate_saturation(network, text, [cell]) if has_gates else [], up, down)


def misses(
    network: CharRNN, read: EncodedText, text: Text, evidence: Evidence, one: Property
) -> list[tuple[int, bool]]:
    """Where a cell most contradicts the binary property it goes with: characters, and whether the property holds there.

    read: ids (N,), or documents; text: the same as characters. The strongest first, each some way from the others.
    """
    layer, index = map(int, evidence.cell.split(":"))
    chunks = trace(network, read, signals=[evidence.signal], cells=[Cell(layer, index)])
    values = np.concatenate([chunk.signals[evidence.signal][:, 0] for chunk in chunks])
    truth = one.of(text)
    contradiction = np.where(truth, -1, 1) * evidence.sign * (values - (evidence.threshold or 0.0))
    contradiction[: min(LEFT_OUT, len(values) // 2)] = -np.inf
    found: list[tuple[int, bool]] = []
    for place in np.argsort(-contradiction, kind="stable").tolist():
        if len(found) == MISSES or contradiction[place] <= 0:
            break
        if all(abs(place - other) >= APART for other, _ in found):
            found.append((place, bool(truth[place])))
    return found
