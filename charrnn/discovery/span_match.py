"""Search by example: cells that are on throughout a span of text and off around it (LSTMVis, Strobelt et al. 2018).

A cell is on, in one direction, where |tanh(c)|, or |h| without a cell state, is at least `ON`. It matches a span if it
is on after each character but the last, which may close the span. It must be off after the characters on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.inspection.trace import Cell, all_cells, trace_streams
from charrnn.model.network import CharRNN
from charrnn.text.encoded_text import EncodedText, Streams

ON = 0.3
WARM_UP = 1000
STREAMS = 20
COMBINED_CELLS = 5


@dataclass(frozen=True)
class MatchingCell:
    """A cell that matches a span.

    sign: the direction in which it is on. hits: how many occurrences it matches. share: of all characters, where it is
    on.
    """

    cell: Cell
    sign: int
    hits: int
    share: float


@dataclass(frozen=True, repr=False)
class SpanMatch:
    """The cells that match a span.

    occurrences: where the span starts. cells: the matching cells, most hits first. elsewhere: other places
    (start, stop) at which the first five of the cells are on together.
    """

    occurrences: list[int]
    cells: list[MatchingCell]
    elsewhere: list[tuple[int, int]]

    def __repr__(self) -> str:
        best = ", ".join(f"{one.cell} ({one.hits})" for one in self.cells[:COMBINED_CELLS])
        return f"<SpanMatch: {len(self.occurrences)} occurrences, {len(self.cells)} cells{': ' + best if best else ''}>"


def find_occurrences(span: str, text: str) -> list[int]:
    """Return where a span starts in a text, overlaps included, with at least one character before and after it."""
    found, place = [], text.find(span, 1)
    while 0 <= place < len(text) - len(span):
        found.append(place)
        place = text.find(span, place + 1)
    return found


def match_span(network: CharRNN, text: EncodedText, occurrences: Sequence[int], length: int) -> SpanMatch:
    """Find the cells that match at least half of the occurrences of a span. length: of the span, in characters."""
    cells = all_cells(network)
    on = {sign: np.empty((len(text), len(cells)), bool) for sign in (1, -1)}
    for start, values in _all_values(network, text):
        for sign, is_on in on.items():
            is_on[start : start + len(values)] = sign * values >= ON
    at = np.asarray(occurrences)
    matching = []
    for sign, is_on in on.items():
        inside = np.ones((len(at), len(cells)), bool)
        for offset in range(max(1, length - 1)):
            inside &= is_on[at + offset]
        hits = (inside & ~is_on[at - 1] & ~is_on[at + length]).sum(axis=0)
        share = is_on.mean(axis=0)
        matching += [
            MatchingCell(cell, sign, int(hits[column]), float(share[column]))
            for column, cell in enumerate(cells)
            if 2 * hits[column] >= len(at)
        ]
    matching.sort(key=lambda one: (-one.hits, one.share))
    columns = [on[one.sign][:, cells.index(one.cell)] for one in matching[:COMBINED_CELLS]]
    return SpanMatch(list(occurrences), matching, _elsewhere(columns, at, length))


def _elsewhere(columns: Sequence[np.ndarray], occurrences: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Return where all columns (N,) are true together, apart from the occurrences."""
    if not columns:
        return []
    together = np.logical_and.reduce(columns)
    steps = np.zeros(len(together) + 1, np.int64)
    np.add.at(steps, occurrences, 1)
    np.add.at(steps, occurrences + length, -1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(steps)[:-1] > 0)])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], together, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if covered[a] == covered[b]]


def _all_values(network: CharRNN, text: EncodedText) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (start, values (T, C)) of all cells for each stretch of the text, in any order: tanh(c), or h without c.

    A long text is read as 20 parallel streams; each but the first starts 1,000 characters early to warm up.
    """
    part = -(-len(text) // STREAMS)
    first = part if part > WARM_UP else len(text)
    yield from _read(network, text[:first].streams(np.atleast_2d), [0], 0)
    if first < len(text):
        starts = [stream * part for stream in range(1, STREAMS)]

        def side_by_side(values: np.ndarray) -> np.ndarray:
            padded = np.concatenate([values, np.repeat(values[-1:], STREAMS * part - len(values))])
            return np.stack([padded[start - WARM_UP : start + part] for start in starts])

        for start, values in _read(network, text.streams(side_by_side), starts, WARM_UP):
            if start < len(text):
                yield start, values[: len(text) - start]


def _read(network: CharRNN, streams: Streams, starts: Sequence[int], warm_up: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the values of streams (B, warm_up + part) without their first `warm_up` characters, as `_all_values`."""
    signal = network.recurrence.find_signal("auto")
    for chunk in trace_streams(network, streams, signals=[signal]):
        values = network.recurrence.displayed(signal, chunk.signals[signal])
        skipped = max(0, warm_up - chunk.start)
        if skipped < values.shape[1]:
            for start, own in zip(starts, values, strict=True):
                yield start + chunk.start + skipped - warm_up, own[skipped:]
