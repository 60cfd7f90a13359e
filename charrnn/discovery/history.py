"""One cell at the checkpoints of a run: from which step on does it track a property?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.discovery.ranks import Labels, Strata, ranked
from charrnn.discovery.statistics import auc, rank_correlation
from charrnn.discovery.study import Split
from charrnn.errors import CharrnnError, CharrnnWarning
from charrnn.inspection.trace import Cell, trace_streams
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import Kind
from charrnn.text.encoded_text import EncodedText

SETTLED = 0.9
"""Share of its last rank correlation from which on a cell counts as settled."""
MIN_RANK_CORRELATION = 0.1


@dataclass(frozen=True)
class History:
    """The rank correlation of a cell with a property, within the current character, at each checkpoint.

    property_name: None where the cell is compared with itself at the last checkpoint.
    """

    cell: Cell
    signal: str
    property_name: str | None
    kind: Kind
    steps: tuple[int, ...]
    rank_correlations: tuple[float, ...]

    @property
    def scores(self) -> list[float]:
        """The AUC of a binary property, the rank correlation ρ of a graded one."""
        return [float(auc(value)) if self.kind == "binary" else value for value in self.rank_correlations]

    @property
    def settled_at(self) -> int | None:
        """The step from which on the cell keeps 90 % of its last rank correlation; None if that is below .1."""
        last = self.rank_correlations[-1]
        if abs(last) < MIN_RANK_CORRELATION:
            return None
        settled = None
        for step, value in zip(reversed(self.steps), reversed(self.rank_correlations), strict=True):
            if value * np.sign(last) < SETTLED * abs(last):
                break
            settled = step
        return settled


def cell_history(
    load: Callable[[int], CharRNN],
    steps: Sequence[int],
    text: EncodedText,
    cell: Cell,
    signal: str,
    values: np.ndarray | None = None,
    property_name: str | None = None,
) -> History:
    """Measure a cell at each checkpoint, on the CONFIRM half of a text.

    load: step → network. values: of the property, (N,); None: the cell itself at the last checkpoint. property_name:
    of the property.

    A checkpoint that `load` raises CharrnnError for is skipped with a CharrnnWarning. Where all are, the first of these
    errors is raised.
    """
    split = Split.of(len(text))
    recorded: dict[int, np.ndarray] = {}
    broken: list[CharrnnError] = []
    for step in steps:
        try:
            recorded[step] = _on_confirm(load(step), text, split, cell, signal)
        except CharrnnError as error:
            broken.append(error)
    if not recorded:
        raise broken[0]
    for skipped in broken:
        warnings.warn(f"{skipped.message}; this checkpoint is left out", CharrnnWarning, stacklevel=2)
    strata = Strata.by(split.confirm(text.ids))
    labels = Labels.of([recorded[max(recorded)] if values is None else split.confirm(values)], strata)
    correlations = [
        float(rank_correlation(ranked(column[:, None], strata)[0], labels)[0, 0]) for column in recorded.values()
    ]
    kind: Kind = "binary" if values is not None and values.dtype == bool else "graded"
    return History(cell, signal, property_name, kind, tuple(recorded), tuple(correlations))


def _on_confirm(network: CharRNN, text: EncodedText, split: Split, cell: Cell, signal: str) -> np.ndarray:
    streams = text.streams(lambda values: split.streams(values)[1::2])
    chunks = list(trace_streams(network, streams, signals=[signal], cells=[cell]))
    return np.concatenate([chunk.signals[signal] for chunk in chunks], axis=1)[:, split.gap :, 0].reshape(-1)
