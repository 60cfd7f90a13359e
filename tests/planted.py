"""Networks with cells whose behavior is known, and a text for them."""

from __future__ import annotations

import numpy as np
import torch

from charrnn.discovery.study import Effort
from charrnn.model.network import CharRNN
from charrnn.settings import ModelSettings
from charrnn.text.vocabulary import Vocabulary

SMALL_EFFORT = Effort(
    characters=40_000, permutations=2_000, pseudo_labels=40, resamples=300, untrained=2, gradient_positions=16, seed=1
)
SATURATED = 30.0  # a pre-activation at which a gate is closed or open to within 1e-13
OPEN: tuple[float, dict[str, float]] = (SATURATED, {})
CLOSED: tuple[float, dict[str, float]] = (-SATURATED, {})
LATCH, COUNTER, DETECTOR = 5, 11, 17


def prose(length: int, seed: int = 0) -> str:
    """Return words in lines of varied length, with parentheses and quotations that may span several lines."""
    draw = np.random.default_rng(seed)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "then", "it", "slept", "until", "noon", "Anna", "saw", "it"]
    parts, size, parenthesis, quotation = [], 0, 0, 0
    while size < length:
        word = words[draw.integers(len(words))]
        if parenthesis == 0 and draw.random() < 0.03:
            word, parenthesis = "(" + word, int(draw.integers(1, 12)) + 1
        elif quotation == 0 and draw.random() < 0.03:
            word, quotation = '"' + word, int(draw.integers(1, 12)) + 1
        if parenthesis:
            parenthesis -= 1
            word += "" if parenthesis else ")"
        if quotation:
            quotation -= 1
            word += "" if quotation else '"'
        parts.append(word + ("\n" if draw.random() < 0.12 else " "))
        size += len(parts[-1])
    return "".join(parts)[:length]


def network_for(vocabulary: Vocabulary, recurrence: str = "lstm", hidden_size: int = 24, seed: int = 0) -> CharRNN:
    network = CharRNN(ModelSettings(recurrence, 1, hidden_size, 16), len(vocabulary))
    network.initialize(torch.Generator().manual_seed(seed))
    return network.eval()


@torch.no_grad()
def plant(network: CharRNN, cell: int, vocabulary: Vocabulary, **gates: tuple[float, dict[str, float]]) -> None:
    """Set the weights of a cell. gates: pre-activation at most characters, and at certain characters.

    No other cell reads it, so none can copy it.
    """
    layer, size = network.recurrences[0], network.settings.hidden_size
    layer.weight_hh_l0[:, cell] = 0
    for gate, (default, exceptions) in gates.items():
        row = network.recurrence.gate_rows(gate, size).start + cell
        layer.weight_hh_l0[row] = 0
        layer.weight_ih_l0[row] = 0
        layer.bias_hh_l0[row] = 0
        layer.bias_ih_l0[row] = default
        for character, value in exceptions.items():
            layer.weight_ih_l0[row, DIMENSION[character]] = value - default


DIMENSION = {"(": 0, ")": 1, "\n": 2, '"': 3}


@torch.no_grad()
def planted(vocabulary: Vocabulary, seed: int = 0) -> CharRNN:
    """Return a random network with three planted cells.

    LATCH is on between ( and ). COUNTER counts characters since the newline. DETECTOR is on after any quotation mark.
    """
    network = network_for(vocabulary, seed=seed)
    network.embedding.weight[:, : len(DIMENSION)] = 0
    for character, dimension in DIMENSION.items():
        network.embedding.weight[vocabulary.encode(character)[0], dimension] = 1
    always = {"output": OPEN, "candidate": OPEN}
    plant(
        network,
        LATCH,
        vocabulary,
        input=(-SATURATED, {"(": SATURATED}),
        forget=(SATURATED, {")": -SATURATED}),
        **always,
    )
    plant(
        network,
        COUNTER,
        vocabulary,
        input=OPEN,
        forget=(SATURATED, {"\n": -SATURATED}),
        candidate=(0.01, {"\n": 0.0}),
        output=OPEN,
    )
    plant(network, DETECTOR, vocabulary, input=(-SATURATED, {'"': SATURATED}), forget=CLOSED, **always)
    return network


PAIR = (3, 7)
PAIR_DIMENSIONS = "()oi"  # o and i are equally frequent in `prose`


@torch.no_grad()
def planted_pair(vocabulary: Vocabulary, seed: int = 0) -> CharRNN:
    """Return a random network in which only the difference of two cells tells whether a parenthesis is open.

    Both add up a count of two letters, positive and negative. It hides what the first one holds besides.
    """
    network = network_for(vocabulary, seed=seed)
    network.embedding.weight[:, :4] = 0
    for dimension, character in enumerate(PAIR_DIMENSIONS):
        network.embedding.weight[vocabulary.encode(character)[0], dimension] = 1
    is_open = (SATURATED, {})
    layer, size = network.recurrences[0], network.settings.hidden_size
    for cell, held in zip(PAIR, (1.0, 0.0), strict=True):
        plant(network, cell, vocabulary, input=is_open, forget=is_open, output=is_open, candidate=(0.0, {}))
        row = network.recurrence.gate_rows("candidate", size).start + cell
        layer.weight_ih_l0[row, :4] = torch.tensor([held, -held, 0.2, -0.2])
    return network
