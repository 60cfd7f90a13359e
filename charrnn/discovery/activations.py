"""The values of cells at every position of both halves of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.discovery import stages
from charrnn.discovery.study import Study
from charrnn.inspection.trace import Cell, Chunk, all_cells, trace_streams
from charrnn.model.network import CharRNN
from charrnn.progress import StageProgress
from charrnn.text.encoded_text import Streams
from charrnn.units import NATS_PER_BIT

VALUES_IN_MEMORY = 1 << 29
"""At 1×1024 the recording of 200,000 characters takes 1.5 GB."""


@dataclass(frozen=True, eq=False)
class Activations:
    """Values on SELECT and on CONFIRM, (N/2, signals · cells) float32 each, the columns ordered signal by signal.

    bits_per_character: of the network on both halves, if asked for.
    """

    cells: Sequence[Cell]
    signals: Sequence[str]
    select: np.ndarray
    confirm: np.ndarray
    bits_per_character: float | None

    def of(self, cell: Cell, signal: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of one cell on SELECT and on CONFIRM, (N/2,) each."""
        column = self.signals.index(signal) * len(self.cells) + self.cells.index(cell)
        return self.select[:, column], self.confirm[:, column]

    def of_layer(self, layer: int, signal: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of all recorded cells of a layer on SELECT and on CONFIRM, (N/2, cells) each."""
        places = [place for place, cell in enumerate(self.cells) if cell.layer == layer]
        first = self.signals.index(signal) * len(self.cells) + places[0]
        columns = slice(first, first + len(places))
        return self.select[:, columns], self.confirm[:, columns]


@dataclass(frozen=True, eq=False)
class Recordings:
    """What a network's cells do on both halves: recorded once if it fits into memory, else whenever it is needed.

    whole: all cells and signals of the state.
    """

    network: CharRNN
    study: Study
    progress: StageProgress
    whole: Activations | None

    @classmethod
    def of(cls, network: CharRNN, study: Study, progress: StageProgress) -> Recordings:
        """Read both halves if the values of all cells fit into memory."""
        empty = cls(network, study, progress, None)
        groups = cell_groups(network, study)
        if len(groups) > 1:
            return empty
        return cls(network, study, progress, empty.read(groups[0], stages.READING, progress, bits=True))

    def read(
        self,
        cells: Sequence[Cell],
        stage: str,
        progress: StageProgress,
        *,
        signals: Sequence[str] | None = None,
        bits: bool = False,
    ) -> Activations:
        """Return what is recorded, or record these cells. signals: None: those of the state. Else as for `record`."""
        if self.whole is not None:
            return self.whole
        signals = self.network.recurrence.state_signals if signals is None else signals
        return record(self.network, self.study, cells, signals, bits=bits, progress=progress, stage=stage)


def cell_groups(network: CharRNN, study: Study) -> list[list[Cell]]:
    """Return all cells in groups whose values fit into memory."""
    size = max(1, VALUES_IN_MEMORY // (len(study.text) * len(network.recurrence.state_signals)))
    cells = all_cells(network)
    return [cells[start : start + size] for start in range(0, len(cells), size)]


def record(
    network: CharRNN,
    study: Study,
    cells: Sequence[Cell],
    signals: Sequence[str],
    *,
    bits: bool = False,
    every: int = 1,
    progress: StageProgress,
    stage: str,
) -> Activations:
    """Read both halves with a network and record its cells, in one pass.

    bits: also measure bits per character. every: read only every n-th block of SELECT.
    """
    split = study.split
    blocks = np.arange(len(split.starts))
    select_blocks, confirm_blocks = blocks[0::2][::every], blocks[1::2]
    order = np.concatenate([select_blocks, confirm_blocks])
    streams = study.text.streams(lambda values: split.streams(values)[order])
    rows = (slice(0, len(select_blocks)), slice(len(select_blocks), None))
    width = len(signals) * len(cells)
    halves = [np.empty((len(part), split.block, width), np.float32) for part in (select_blocks, confirm_blocks)]
    nats, predicted = 0.0, 0
    for chunk in trace_streams(network, streams, signals=signals, cells=cells, predictions=bits):
        size = chunk.signals[signals[0]].shape[1]
        start, stop = chunk.start - split.gap, chunk.start - split.gap + size
        skipped = max(0, -start)
        for place, name in enumerate(signals):
            columns = slice(place * len(cells), (place + 1) * len(cells))
            for part, half in zip(rows, halves, strict=True):
                half[:, max(0, start) : max(0, stop), columns] = chunk.signals[name][part, skipped:]
        if bits:
            more_nats, more_predicted = _nats(chunk, streams[chunk.start + 1 : chunk.start + 1 + size], skipped)
            nats, predicted = nats + more_nats, predicted + more_predicted
        progress(stage, min(1.0, (chunk.start + size) / len(streams)))
    select, confirm = (half.reshape(-1, width) for half in halves)
    return Activations(cells, signals, select, confirm, nats / max(predicted, 1) / NATS_PER_BIT if bits else None)


def _nats(chunk: Chunk, following: Streams, skipped: int) -> tuple[float, int]:
    """Return the nats of a chunk's predictions, and how many there are. skipped: positions of the chunk left out.

    following: the characters predicted. The first character of a document is not predicted from the document before it.
    """
    if not len(following) or chunk.log_probabilities is None:
        return 0.0, 0
    ids = following.ids.astype(np.int64)
    logs = np.take_along_axis(chunk.log_probabilities[:, : len(following)], ids[:, :, None], 2)[:, :, 0]
    counted = ~following.begins[:, skipped:]
    return -float(logs[:, skipped:][counted].sum()), int(counted.sum())
