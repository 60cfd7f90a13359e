"""Cells that are on throughout a piece of text and off around it, and where else they are: what LSTMVis (Strobelt et
al. 2018) finds for a span brushed by hand.

A cell is on, in one direction or the other, where |tanh(c)| (or |h|) is at least `ON`. Throughout a piece means after
each of its characters but the last, which may be what closes it; off around it means after the character before the
piece and after the one that follows it.
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
MOST_CELLS = 5


@dataclass(frozen=True)
class MatchingCell:
    """A cell that marks a piece of text.

    sign: the direction in which it is on. hits: of how many occurrences it does so. share: of all characters at which
    it is on.
    """

    cell: Cell
    sign: int
    hits: int
    share: float


@dataclass(frozen=True)
class SpanMatch:
    """occurrences: where the piece stands, its first characters. matching_cells: the cells that mark it, most hits first.
    elsewhere: other places (start, stop) at which the matching_cells are on together."""

    occurrences: list[int]
    matching_cells: list[MatchingCell]
    elsewhere: list[tuple[int, int]]


def occurrences_of(piece: str, text: str) -> list[int]:
    """Where a piece of text stands in a text, overlapping ones among them, with a character before and after it."""
    found, place = [], text.find(piece, 1)
    while 0 <= place < len(text) - len(piece):
        found.append(place)
        place = text.find(piece, place + 1)
    return found


def like(network: CharRNN, text: EncodedText, places: Sequence[int], length: int) -> SpanMatch:
    """Cells that mark a piece of this many characters wherever (`places`) it stands in a text.

    text: ids (N,), or documents. Cells that do so in fewer than half of the places are left out; with the first five,
    where else all are on.
    """
    on = {sign: np.empty((len(text), len(all_cells(network))), bool) for sign in (1, -1)}
    for start, values in _all_values(network, text):
        for sign, kept in on.items():
            kept[start : start + len(values)] = sign * values >= ON
    at = np.asarray(places)
    matching_cells = []
    for sign, kept in on.items():
        inside = np.ones((len(at), kept.shape[1]), bool)
        for offset in range(max(1, length - 1)):
            inside &= kept[at + offset]
        hits = (inside & ~kept[at - 1] & ~kept[at + length]).sum(axis=0)
        share = kept.mean(axis=0)
        matching_cells += [
            MatchingCell(cell, sign, int(hits[column]), float(share[column]))
            for column, cell in enumerate(all_cells(network))
            if 2 * hits[column] >= len(at)
        ]
    matching_cells.sort(key=lambda one: (-one.hits, one.share))
    return SpanMatch(list(places), matching_cells, _elsewhere(network, on, matching_cells[:MOST_CELLS], at, length))


def _elsewhere(
    network: CharRNN, on: dict[int, np.ndarray], matching_cells: Sequence[MatchingCell], at: np.ndarray, length: int
) -> list[tuple[int, int]]:
    if not matching_cells:
        return []
    column = {cell: place for place, cell in enumerate(all_cells(network))}
    together = np.logical_and.reduce([on[one.sign][:, column[one.cell]] for one in matching_cells])
    own = np.zeros(len(together) + 1, np.int64)
    np.add.at(own, at, 1)
    np.add.at(own, at + length, -1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], together, [False]]).astype(np.int8)))
    covered = np.concatenate([[0], np.cumsum(np.cumsum(own)[:-1] > 0)])
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if covered[a] == covered[b]]


def _all_values(network: CharRNN, text: EncodedText) -> Iterator[tuple[int, np.ndarray]]:
    """tanh(c), or h where there is no c, of all cells: (start, values (T, U)) of each stretch of the text, unordered.

    A long text is read in twenty streams side by side, each but the first from a thousand characters before its part.
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


def _read(network: CharRNN, streams: Streams, starts: Sequence[int], lead: int) -> Iterator[tuple[int, np.ndarray]]:
    """As `_all_values` for streams (B, lead + part), of which the first `lead` characters only warm the state."""
    signal = network.recurrence.find_signal("auto")
    for chunk in trace_streams(network, streams, signals=[signal]):
        values = network.recurrence.displayed(signal, chunk.signals[signal])
        skipped = max(0, lead - chunk.start)
        if skipped < values.shape[1]:
            for start, own in zip(starts, values, strict=True):
                yield start + chunk.start + skipped - lead, own[skipped:]
