"""The weights of a network, for a page that runs it in JavaScript."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from charrnn.explorer.arrays import encoded, encoded_matrix
from charrnn.model.gate_weights import gate_weights
from charrnn.model.network import CharRNN
from charrnn.text.vocabulary import Vocabulary

BASE64 = 4 / 3
"""Characters of base64 for each byte."""


def network_data(
    network: CharRNN, vocabulary: Vocabulary, documents: str | None, room: int
) -> tuple[dict[str, Any] | None, str]:
    """Return the network as data, and a note; None where the page cannot run it, with the reason.

    documents: the rule that separates them; None: the text is one stream. room: bytes that the weights may take. They
    have 16 bits where that fits, else 8.
    """
    recurrence = network.recurrence
    if recurrence.own_javascript is None:
        return None, f"this page cannot run the network: the recurrence {recurrence.name} declares no JavaScript"
    weights = sum(parameter.numel() for parameter in network.parameters())
    bits = next((bits for bits in (16, 8) if weights * bits / 8 * BASE64 <= room), None)
    if bits is None:
        return None, f"this page cannot run the network: {weights:,} weights do not fit into {room / 1e6:.1f} MB"
    layers = []
    for layer in network.recurrences:
        found = gate_weights(layer)
        layers.append(
            {
                "input": encoded_matrix(_array(found.input), bits),
                "hidden": encoded_matrix(_array(found.hidden), bits),
                "inputBias": encoded(_array(found.input_bias)),
                "hiddenBias": encoded(_array(found.hidden_bias)),
            }
        )
    held = [
        {"layer": layer + 1, "cell": cell, "part": list(recurrence.state_parts)[part], "value": value}
        for (layer, part, cell), value in network.held.items()
    ]
    data = {
        "hiddenSize": network.settings.hidden_size,
        "parts": list(recurrence.state_parts),
        "gates": list(recurrence.gates),
        "tanhSignals": list(recurrence.tanh_signals),
        "unitGates": list(recurrence.sigmoid_gates),
        "memoryGate": recurrence.memory_gate,
        "clampable": recurrence.clampable[-1],
        "embedding": encoded_matrix(_array(network.embedding.weight), bits),
        "layers": layers,
        "output": encoded_matrix(_array(network.output.weight), bits),
        "outputBias": encoded(_array(network.output.bias)),
        "opening": vocabulary.opening_id,
        "documents": documents,
        "initial": held,
    }
    return data, f"weights rounded to {bits} bits"


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().float().numpy()
    return array
