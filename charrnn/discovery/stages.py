"""The stages of a search, and progress over all stages of a task."""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.discovery.study import Progress

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


def overall(progress: Progress, seconds: Mapping[str, float] = SECONDS) -> Progress:
    """Return a function of a stage and its share that reports the share of the whole task.

    seconds: stage → about how long it takes.
    """
    done = dict.fromkeys(seconds, 0.0)

    def show(stage: str, share: float) -> None:
        done[stage] = share
        progress(stage, sum(seconds[one] * done[one] for one in seconds) / sum(seconds.values()))

    return show


def span(progress: Progress, first: float, last: float, name: str = "") -> Progress:
    """Return the progress of a task that is a part of another, from one share to another. name: of the part."""
    return lambda stage, share: progress(f"{name}: {stage}" if name else stage, first + (last - first) * share)


def part(progress: Progress, k: int, number: int) -> Progress:
    """Return the progress of the k-th of `number` equal parts of each stage, counted from 0."""
    return lambda stage, share: progress(stage, (k + share) / number)
