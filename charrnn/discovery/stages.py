"""The stages of a search."""

from __future__ import annotations

PROPERTIES = "finding the properties in the text"
READING = "reading the text with the network"
COMPARING = "comparing cells with properties"
CHANCE = "shuffled properties for comparison"
CHARACTERS = "the last characters for comparison"
UNTRAINED = "untrained networks for comparison"
LINEAR_MEMORY = "a linear memory for comparison"
CANDIDATES = "reading the best cells again"
INTERVALS = "resampling their scores"
GRADIENTS = "following gradients back in time"
PROBE = "probing all cells together"

SECONDS = {
    PROPERTIES: 1.0,
    READING: 6.0,
    COMPARING: 7.0,
    CHANCE: 6.5,
    CHARACTERS: 2.0,
    UNTRAINED: 16.0,
    LINEAR_MEMORY: 1.5,
    CANDIDATES: 0.1,
    INTERVALS: 2.0,
    GRADIENTS: 1.0,
    PROBE: 3.0,
}
"""About how long each stage takes for an LSTM of 1×256 and 200,000 characters on a free core: its weight."""
