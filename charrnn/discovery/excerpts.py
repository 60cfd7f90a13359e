"""A short piece of text around an episode of a property, with the values of a cell, to show what the cell does.

The piece is typical, not the best one: among all episodes that fit, it is the one with the median contrast, which is
the difference between the cell's mean value inside the episode and beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from charrnn.discovery.checked import Count
from charrnn.discovery.study import Split
from charrnn.display.activations import excerpt_lines
from charrnn.display.terminal import Terminal
from charrnn.display.view import SignalScale, View
from charrnn.inspection.gates import warm_up
from charrnn.inspection.recorded_trace import displayed_scale
from charrnn.inspection.trace import Cell, trace_signal, trace_streams
from charrnn.model.network import CharRNN
from charrnn.model.recurrences.base import Recurrence
from charrnn.properties.catalog import Property, Text
from charrnn.text.encoded_text import EncodedText

LENGTH = 150  # characters: two lines of 76 columns
MARGIN = LENGTH // 8  # characters shown on each side of an episode, at least

PRINTABLE = {"\\n": "\n", "\\t": "\t", "\\x0a": "\n", "\\x09": "\t", "\\u200c": "\u200c", "\\u200d": "\u200d"}
"""Printable form of white space and joiners → the character, which a view marks."""

Value = Annotated[float, -1e6, 1e6]


@dataclass(frozen=True)
class Excerpt:
    """A piece of text and the displayed values of a cell, in types that findings can store.

    start: position of its first character in the text. focus: index of the character at which the episode begins.
    symbols: printable form of each character. values: at each character. title: what they are, such as `tanh(c)`. low,
    high: of the scale. contrast: mean value where the property holds, minus the mean elsewhere.
    """

    start: Count
    focus: Count
    symbols: tuple[str, ...]
    values: tuple[Value, ...]
    title: str
    low: Value
    high: Value
    contrast: Value

    def __post_init__(self) -> None:
        SignalScale(self.low, self.high)  # raises ValueError for anything else
        if len(self.symbols) != len(self.values) or self.focus >= len(self.symbols):
            raise ValueError("an excerpt's symbols, values and focus do not correspond")
        if not all(self.symbols):
            raise ValueError("a symbol of an excerpt is empty")

    def view(self, palette: str = "blue-red") -> View:
        """Return the excerpt as text to color."""
        symbols = [PRINTABLE.get(symbol, symbol) for symbol in self.symbols]
        return View(symbols, self.values, self.title, SignalScale(self.low, self.high), palette)

    def lines(self, terminal: Terminal, *, width: int, rows: int = 1, palette: str = "blue-red") -> list[str]:
        """Return styled lines: at most `rows` of text, shortened around the beginning of the episode to fit.

        Without colors, rows of values follow each line of text.
        """
        return excerpt_lines(self.view(palette), terminal, width, rows=rows, focus=self.focus)


def typical_excerpts(
    network: CharRNN,
    text: EncodedText,
    characters: Text,
    asked: Sequence[tuple[Cell, str, Property]],
    symbols: Sequence[str],
    split: Split | None = None,
) -> list[Excerpt | None]:
    """Return the typical excerpt of a text for each cell, signal and property; None where the property never changes.

    characters: the text as characters, one for each id. symbols: printable form of each id. split: to read the text in
    parallel blocks, which is several times as fast; None: read it as a whole.
    """
    if split is None:
        positions = np.arange(warm_up(len(text)), len(text))
    else:
        positions = (split.starts[:, None] + np.arange(split.block)).reshape(-1)
    truths = {one.name: one.of(characters)[positions] for _, _, one in asked}
    found: list[Excerpt | None] = [None] * len(asked)
    for signal in dict.fromkeys(signal for _, signal, _ in asked):
        places = [place for place, each in enumerate(asked) if each[1] == signal]
        values = _values(network, text, signal, [asked[place][0] for place in places], split)
        for column, place in enumerate(places):
            truth = truths[asked[place][2].name]
            cell_values = values[-len(positions) :, column]
            found[place] = typical_excerpt(
                network.recurrence, signal, positions, text.ids[positions], cell_values, truth, symbols
            )
    return found


def _values(network: CharRNN, text: EncodedText, signal: str, cells: list[Cell], split: Split | None) -> np.ndarray:
    """Return a signal of cells, (N, K), or in the blocks of a split (blocks · block, K)."""
    if split is None:
        return trace_signal(network, text, signal, cells)
    chunks = trace_streams(network, text.streams(split.streams), signals=[signal], cells=cells)
    values = np.concatenate([chunk.signals[signal] for chunk in chunks], axis=1)
    return values[:, split.gap :].reshape(-1, len(cells))


def typical_excerpt(
    recurrence: Recurrence,
    signal: str,
    positions: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    truth: np.ndarray,
    symbols: Sequence[str],
) -> Excerpt | None:
    """Return the excerpt with the median contrast; None where the property never changes.

    positions: of the characters in the text, (N,); an excerpt does not cross a gap between them. values: of the signal,
    not as displayed, (N,). truth: of the property, (N,); a graded one counts as on above its median. symbols: printable
    form of each id.
    """
    values = recurrence.displayed(signal, np.asarray(values)).astype(np.float64)
    holds = truth if truth.dtype == bool else truth > np.median(truth)
    pieces = _pieces(positions, holds)
    if not len(pieces):
        return None
    starts, stops, _ = pieces.T
    inside, total, number = (
        np.concatenate([[0.0], np.cumsum(sums)]) for sums in (np.where(holds, values, 0), values, holds)
    )
    within, whole, on = (sums[stops] - sums[starts] for sums in (inside, total, number))
    contrasts = within / on - (whole - within) / (stops - starts - on)
    chosen = np.argsort(contrasts, kind="stable")[(len(contrasts) - 1) // 2]
    start, stop, focus = (int(one) for one in pieces[chosen])
    shown = np.round(values[start:stop], 4)
    scale = displayed_scale(recurrence, signal, shown)
    return Excerpt(
        start=int(positions[start]),
        focus=focus - start,
        symbols=tuple(symbols[one] for one in ids[start:stop]),
        values=tuple(shown.tolist()),
        title=recurrence.display_name(signal),
        low=scale.low,
        high=scale.high,
        contrast=float(contrasts[chosen]),
    )


def _pieces(positions: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """Return (start, stop, change) of a piece around each episode that fits; else around each beginning; (pieces, 3).

    An episode is a run of the rarer class. Every piece shows both classes.
    """
    rarer = holds if holds.mean() <= 0.5 else ~holds
    borders = np.flatnonzero(np.diff(positions) != 1) + 1  # first characters after a gap
    edges = np.flatnonzero(np.diff(rarer.astype(np.int8), prepend=0, append=0))
    begins, ends = edges[0::2], edges[1::2]
    lows = np.concatenate([[0], borders])[np.searchsorted(borders, begins, side="right")]
    highs = np.concatenate([borders, [len(positions)]])[np.searchsorted(borders, begins, side="right")]
    fits = (ends - begins <= LENGTH - 2 * MARGIN) & (begins - MARGIN >= lows) & (ends + MARGIN <= highs)
    if not fits.any():
        fits, ends = (begins - MARGIN >= lows) & (begins + MARGIN <= highs), begins
    begins, ends, lows, highs = begins[fits], ends[fits], lows[fits], highs[fits]
    starts = np.maximum((begins + ends - LENGTH) // 2, lows)
    return np.stack([starts, np.minimum(starts + LENGTH, highs), begins], axis=1)
