"""The weights of a network, for a page that runs it in JavaScript."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.explorer.arrays import encoded, encoded_matrix, row_integers
from charrnn.inspection.trace import trace_signal
from charrnn.model.gate_weights import gate_weights
from charrnn.model.network import CharRNN
from charrnn.scoring.score import score
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import NATS_PER_BIT

BASE64 = 4 / 3
"""Characters of base64 for each byte."""
BLOCKS = (100, 200, 400)
"""Characters between two states, the fewest that fit: a page reads half as many for the gates of a character."""
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


def states_data(network: CharRNN, text: EncodedText, limit: int) -> dict[str, Any] | None:
    """Return the state at regular intervals of a text, from which a page computes the gates in between.

    text: read from its start. limit: bytes that the states may take. None where they do not fit, or where more than the
    text changes the state: a start of a document, or a held cell.
    """
    parts, cells = list(network.recurrence.state_parts), network.settings.layers * network.settings.hidden_size
    for every in BLOCKS:
        if (
            len(text) // every * len(parts) * cells * 2 * BASE64 <= limit
            and not text.has_documents
            and not network.held
        ):
            states = {part: trace_signal(network, text, part)[every - 1 :: every] for part in parts}
            return {"every": every, "parts": {part: encoded_matrix(values, 16) for part, values in states.items()}}
    return None


def rounding_cost(network: CharRNN, text: EncodedText, bits: int) -> float:
    """Return by how many bits per character the loss rises when matrices are rounded."""
    exact, changed = (score(one, text[:MEASURED]).nats for one in (network, rounded(network, bits)))
    return max(0.0, float(np.nanmean(changed - exact)) / NATS_PER_BIT) if len(exact) else 0.0


@torch.no_grad()
def rounded(network: CharRNN, bits: int) -> CharRNN:
    """Return a copy of a network with the matrices that a page restores from integers of 8 or 16 bits."""
    copied = copy.deepcopy(network)
    for parameter in copied.parameters():
        if parameter.ndim == 2:
            integers, scales = row_integers(_array(parameter), bits)
            parameter.copy_(torch.from_numpy(integers * scales[:, None]))
    return copied


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().float().numpy()
    return array
