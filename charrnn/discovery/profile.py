"""What is known of one cell: how long it remembers, which characters it promotes, where it contradicts its property."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.evidence import Evidence
from charrnn.inspection.gates import GateSaturation, gate_saturation, memory_length, warm_up
from charrnn.inspection.trace import Cell, trace_signal
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import Property, Text
from charrnn.text.encoded_text import EncodedText

LOGITS_SHOWN = 5
CONTRADICTIONS_SHOWN = 3
MIN_DISTANCE = 80
"""Characters between two contradictions."""


@dataclass(frozen=True)
class CellProfile:
    """What a cell does over a text.

    memory: in characters; None without a memory gate. gates: saturation of the cell's gates. promoted, suppressed: ids
    of the characters whose logits h of this cell raises and lowers most, with the logits per unit of h. They are empty
    below the last layer, which alone is connected to the output.
    """

    memory: float | None
    gates: list[GateSaturation]
    promoted: list[tuple[int, float]]
    suppressed: list[tuple[int, float]]


@dataclass(frozen=True)
class Contradiction:
    """A position at which a cell contradicts its property. holds: whether the property holds there."""

    position: int
    holds: bool


def cell_profile(network: CharRNN, text: EncodedText, cell: Cell) -> CellProfile:
    """Profile a cell over a text."""
    gate = network.recurrence.memory_gate
    memory = None
    if gate is not None:
        memory = memory_length(trace_signal(network, text, gate, [cell])[warm_up(len(text)) :])
    gates = gate_saturation(network, text, [cell]) if network.recurrence.sigmoid_gates else []
    promoted, suppressed = [], []
    if cell.layer == network.settings.layers:
        weights = network.output.weight[:, cell.index].detach().cpu()
        order = torch.argsort(weights, descending=True).tolist()
        promoted, suppressed = (
            [(one, float(weights[one])) for one in ids[:LOGITS_SHOWN]] for ids in (order, order[::-1])
        )
    return CellProfile(memory, gates, promoted, suppressed)


def contradictions(
    network: CharRNN, text: EncodedText, characters: Text, evidence: Evidence, one: Property
) -> list[Contradiction]:
    """Return where a cell contradicts its binary property most, the strongest first, at least 80 characters apart.

    characters: the text as characters, one for each id.
    """
    layer, index = map(int, evidence.cell.split(":"))
    values = trace_signal(network, text, evidence.signal, [Cell(layer, index)])[:, 0]
    truth = one.of(characters)
    disagreement = np.where(truth, -1, 1) * evidence.sign * (values - (evidence.threshold or 0.0))
    disagreement[: warm_up(len(values))] = -np.inf
    found: list[Contradiction] = []
    for position in np.argsort(-disagreement, kind="stable").tolist():
        if len(found) == CONTRADICTIONS_SHOWN or disagreement[position] <= 0:
            break
        if all(abs(position - other.position) >= MIN_DISTANCE for other in found):
            found.append(Contradiction(position, bool(truth[position])))
    return found
