"""The weights of a network, for a page that runs it in JavaScript."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.explorer.arrays import encoded, encoded_matrix, row_integers
from charrnn.model.gate_weights import gate_weights
from charrnn.model.network import CharRNN
from charrnn.scoring.score import score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import NATS_PER_BIT

BASE64 = 4 / 3
"""Characters of base64 for each byte."""
MEASURED = 5_000
"""Characters of the text on which the cost of rounding is measured."""


def network_data(
    network: CharRNN, vocabulary: Vocabulary, documents: str | None, text: EncodedText, limit: int
) -> tuple[dict[str, Any] | None, str]:
    """Return the network as data, and a note; None where the page cannot run it, with the reason.

    documents: the rule that separates them; None: the text is one stream. text: to measure what rounding costs. limit:
    bytes that the weights may take. They have 16 bits where that fits, else 8.
    """
    recurrence = network.recurrence
    if recurrence.own_javascript is None:
        return None, f"this page cannot run the network: the recurrence {recurrence.name} declares no JavaScript"
    weights = sum(parameter.numel() for parameter in network.parameters())
    bits = next((bits for bits in (16, 8) if weights * bits / 8 * BASE64 <= limit), None)
    if bits is None:
        return None, f"this page cannot run the network: {weights:,} weights do not fit into {limit / 1e6:.1f} MB"
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
        "clampable": recurrence.clampable[-1],
        "embedding": encoded_matrix(_array(network.embedding.weight), bits),
        "layers": layers,
        "output": encoded_matrix(_array(network.output.weight), bits),
        "outputBias": encoded(_array(network.output.bias)),
        "opening": vocabulary.opening_id,
        "documents": documents,
        "initial": held,
    }
    return data, f"weights rounded to {bits} bits cost {rounding_cost(network, text, bits):.3f} bits/char"


@torch.no_grad()
def rounding_cost(network: CharRNN, text: EncodedText, bits: int) -> float:
    """Return by how many bits per character the loss rises when matrices are rounded."""
    rounded, text = copy.deepcopy(network), text[:MEASURED]
    for parameter in rounded.parameters():
        if parameter.ndim == 2:
            integers, scales = row_integers(_array(parameter), bits)
            parameter.copy_(torch.from_numpy(integers * scales[:, None]))
    exact, changed = (score(one, text).nats for one in (network, rounded))
    return max(0.0, float(np.nanmean(changed - exact)) / NATS_PER_BIT) if len(exact) else 0.0


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().float().numpy()
    return array
