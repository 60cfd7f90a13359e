"""The values that a cell has in a text: quantiles, and its level inside and outside a property.

The level of a class is the cell's median there; `ablate`, `steer` and `sample --clamp` hold cells at it. The network
reads tanh(c), and the median of tanh(c) is tanh of the median, whereas the mean of a skewed c may be a value that the
cell hardly takes, where tanh is saturated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charrnn.discovery.findings import search_command, why_unknown
from charrnn.discovery.subject import Subject
from charrnn.errors import CharrnnError
from charrnn.inspection.gates import warm_up
from charrnn.inspection.trace import Cell, trace_streams
from charrnn.model.network import CharRNN
from charrnn.text.encoded_text import EncodedText

STREAMS = 16
MIN_STREAM = 2_000
LEVEL_CHARACTERS = 100_000
"""Characters of a text, at most, that levels are measured on."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class Levels:
    """Values of a signal of a cell.

    quantiles: share → value. outside, inside: medians in both classes, NaN without a property. means: in both classes.
    direction: mean of h inside minus outside, of every cell of the layer, (H,).
    """

    quantiles: dict[float, float]
    mean: float
    outside: float
    inside: float
    means: tuple[float, float]
    direction: np.ndarray


def class_levels(outside: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels of cells in both classes, (H,) each, from their values there, (n, H); or of one cell, (n,)."""
    return np.median(outside, axis=0), np.median(inside, axis=0)


def classes_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a property holds and where not; of a graded one, its highest and its lowest quarter."""
    if values.dtype == bool:
        return values, ~values
    low, high = np.quantile(values, [0.25, 0.75])
    return (values >= high, values <= low) if low < high else (values > low, values <= low)


def measure_levels(
    network: CharRNN,
    text: EncodedText,
    cell: Cell,
    signal: str,
    truth: np.ndarray | None = None,
    title: str = "the property",
) -> Levels:
    """Read a text in parallel streams. truth: values of a property (N,). title: its name.

    Raises CharrnnError where the text is empty, or the property never or always holds.
    """
    number = max(1, min(STREAMS, len(text) // MIN_STREAM))
    length = len(text) // number
    if not length:
        raise CharrnnError("the text is empty", "give a longer text")

    def arrange(values: np.ndarray) -> np.ndarray:
        return values[: number * length].reshape(number, length)

    skipped = warm_up(length)
    cells = [Cell(cell.layer, index) for index in range(network.settings.hidden_size)]
    inside, outside = (np.zeros((number, length), bool),) * 2 if truth is None else map(arrange, classes_of(truth))
    values, sums, counts = [], np.zeros((2, len(cells))), np.zeros(2)
    for chunk in trace_streams(network, text.streams(arrange), signals=[signal, "h"], cells=cells):
        first = max(0, skipped - chunk.start)
        found, hidden = chunk.signals[signal][:, first:, cell.index], chunk.signals["h"][:, first:]
        values.append(found)
        for place, one in enumerate((outside, inside)):
            here = one[:, chunk.start + first : chunk.start + first + found.shape[1]]
            sums[place] += hidden[here].sum(axis=0)
            counts[place] += here.sum()
    read = np.concatenate(values, axis=1).astype(np.float64)
    levels = means = (math.nan, math.nan)
    if truth is not None:
        if not counts.all():
            raise CharrnnError(f"{title} never changes in this text", "give a longer text, or another property")
        classes = read[outside[:, skipped:]], read[inside[:, skipped:]]
        low, high = class_levels(*classes)
        levels, means = (float(low), float(high)), (float(classes[0].mean()), float(classes[1].mean()))
    direction = np.subtract(*(sums[::-1] / np.maximum(counts[::-1], 1)[:, None]))
    quantiles = {share: float(np.quantile(read, share)) for share in QUANTILES}
    return Levels(quantiles, float(read.mean()), *levels, means, direction)


def claimed_levels(subject: Subject, cell: Cell, signal: str) -> tuple[float, float]:
    """Return the levels of a cell outside and inside the property that a search of the text claims of it.

    Of a graded property, in its lowest and in its highest quarter. Raises CharrnnError where no search found one.
    """
    claimed = subject.property_of(cell)
    if claimed is None:
        searches = [*subject.known_findings()]
        ways = f"give a number, as in {cell}=0.9"
        if not searches:
            ways = f"run `{search_command(subject.run)}` first, or {ways}"
        raise CharrnnError(f"{why_unknown(str(cell), searches)}, so its value inside is unknown", ways)
    truth = claimed.of(subject.characters(LEVEL_CHARACTERS))
    levels = measure_levels(subject.network, subject.text[:LEVEL_CHARACTERS], cell, signal, truth)
    return levels.outside, levels.inside
