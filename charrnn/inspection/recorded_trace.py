"""Every signal of every cell at each character of a text, computed on first use."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charrnn.display.activations import render
from charrnn.display.export import export
from charrnn.display.fragment import html_fragment
from charrnn.display.terminal import Terminal
from charrnn.display.view import SignalScale, Successors, View
from charrnn.errors import CharrnnError
from charrnn.extras import import_extra
from charrnn.inspection.trace import Cell, all_cells, find_cell, state_after, trace, trace_signal
from charrnn.model.network import CharRNN, State
from charrnn.model.recurrences.base import Recurrence
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import NATS_PER_BIT, count

if TYPE_CHECKING:
    import pandas

CONTEXT = 10_000  # characters read before the first one recorded, so that the state is that of a long text
SUCCESSORS = 5  # likeliest next characters that a picture shows

CellName = Cell | str | int
"""A cell: `Cell(1, 42)`, "1:42", or a number that counts through all layers."""


@dataclass(frozen=True)
class Predictions:
    """What the network expects after each of N characters.

    likeliest: (N, 5) ids, probabilities: (N, 5), likeliest first. following: (N,) ids of the true next characters, −1
    where the text or a document ends. surprise: (N,) bits of the true next character, NaN where it is unknown.
    """

    likeliest: np.ndarray
    probabilities: np.ndarray
    following: np.ndarray
    surprise: np.ndarray

    def successors(self, vocabulary: Vocabulary) -> Successors:
        """Return them in the form that a view shows."""
        symbols, hits = display_symbols(vocabulary), self.likeliest == self.following[:, None]
        return Successors(
            symbols=[[symbols[one] for one in row] for row in self.likeliest],
            probabilities=self.probabilities.tolist(),
            true=[int(row.argmax()) if row.any() else None for row in hits],
            surprise=self.surprise.tolist(),
        )


@dataclass(frozen=True)
class Picture:
    """Text colored by cells: prints with colors in a terminal, and shows in a notebook.

    views: one for each cell. facts: name → value, what the picture shows.
    """

    views: list[View]
    facts: dict[str, str]

    def lines(self, terminal: Terminal) -> list[str]:
        """Return the lines of the picture in the colors that a terminal has."""
        return [line for view in self.views for line in ("", *render(view, terminal))][1:]

    def save(self, path: str | Path) -> None:
        """Write the picture to a file; the suffix names the format (`charrnn.display.export`)."""
        export(Path(path), self.views, self.facts)

    def __str__(self) -> str:
        return "\n".join(self.lines(Terminal.of(sys.stdout)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_fragment(self.views, self.facts)


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The signals of all K cells at N characters of a text, in evaluation mode.

    t["c"] is the cell state of every cell (N, K), layer by layer; t["forget"], t["h"] likewise. t["1:42"] is the main
    signal (c, else h) of one cell (N,); t["1:42", "forget"] one of its gates. Values at a character are those after
    reading it. Signals are computed on first use and kept.

    encoded: the text that was read. start, stop: the part that is recorded; up to 10,000 characters before it are read
    first. title: what the text is called. facts: name → value, about the model.
    """

    network: CharRNN
    vocabulary: Vocabulary
    encoded: EncodedText
    start: int = 0
    stop: int | None = None
    title: str = "text"
    facts: Mapping[str, str] = field(default_factory=dict)
    _kept: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.start and self.start >= len(self.encoded):
            raise CharrnnError(
                f"the {self.title} ends before character {self.start}: it has {len(self.encoded)}", "lower `start`"
            )

    def __len__(self) -> int:
        return len(self.part)

    def __repr__(self) -> str:
        settings = self.network.settings
        return (
            f"Trace({len(self):,} characters of {self.title}, {len(self.cells):,} cells of {settings.layers}×"
            f"{settings.hidden_size}, signals {', '.join(self.signals)})"
        )

    @property
    def part(self) -> EncodedText:
        """The recorded part of the text."""
        return self.encoded[self.start : self.stop]

    @property
    def cells(self) -> list[Cell]:
        """The K cells, in the order of the columns."""
        return all_cells(self.network)

    @property
    def signals(self) -> tuple[str, ...]:
        """The names of what can be traced: c of an LSTM, h, and the gates."""
        return self.network.recurrence.signals

    @property
    def characters(self) -> list[str]:
        """The N recorded characters; bytes beyond ASCII as `\\xNN`."""
        symbols = display_symbols(self.vocabulary)
        return [symbols[one] for one in self.part.ids.tolist()]

    def __getitem__(self, key: str | CellName | tuple[CellName, str]) -> np.ndarray:
        """Return a signal of every cell (N, K), or one signal of one cell (N,).

        Raises UsageError where there is no such cell or signal.
        """
        if isinstance(key, tuple):
            return self._of_cell(*key)
        if isinstance(key, str) and not key[:1].isdigit():
            return self._of_all(self.network.recurrence.find_signal(key))
        return self._of_cell(key, "auto")

    def _of_all(self, signal: str) -> np.ndarray:
        if signal not in self._kept:
            self._kept[signal] = trace_signal(self.network, self.part, signal, state=self._state_before())
        values: np.ndarray = self._kept[signal]
        return values

    def _of_cell(self, name: CellName, signal: str) -> np.ndarray:
        cell, signal = as_cell(name, self.network), self.network.recurrence.find_signal(signal)
        if signal in self._kept:
            values: np.ndarray = self._kept[signal][:, self.cells.index(cell)]
            return values
        return trace_signal(self.network, self.part, signal, [cell], self._state_before())[:, 0]

    def _state_before(self) -> State | None:
        if self.start == 0:
            return None
        if "state" not in self._kept:
            context = self.encoded[max(0, self.start - CONTEXT) : self.start]
            self._kept["state"] = state_after(self.network, context)
        state: State = self._kept["state"]
        return state

    @property
    def predictions(self) -> Predictions:
        """What the network expects after each character."""
        if "predictions" not in self._kept:
            self._kept["predictions"] = self._predict()
        predictions: Predictions = self._kept["predictions"]
        return predictions

    @property
    def surprise(self) -> np.ndarray:
        """Bits (N,) of the true next character; NaN where the text or a document ends."""
        return self.predictions.surprise

    def _predict(self) -> Predictions:
        part, stop = self.part, self.start + len(self.part)
        following = np.full(len(part), -1, np.int64)
        after = self.encoded[self.start + 1 : stop + 1]
        following[: len(after)] = np.where(after.begins(), -1, after.ids.astype(np.int64))
        width = min(SUCCESSORS, len(self.vocabulary))
        likeliest = np.zeros((len(part), width), np.int64)
        probabilities, surprise = np.zeros((len(part), width)), np.full(len(part), math.nan)
        state = self._state_before()
        for chunk in trace(self.network, part, signals=(), cells=(), state=state, predictions=True):
            logs = chunk.log_probabilities
            assert logs is not None
            rows = slice(chunk.start, chunk.start + len(logs))
            likeliest[rows] = np.argsort(-logs, axis=1, kind="stable")[:, :width]
            probabilities[rows] = np.exp(np.take_along_axis(logs, likeliest[rows], 1))
            true = following[rows]
            bits = -logs[np.arange(len(logs)), true] / NATS_PER_BIT
            surprise[rows] = np.where(true >= 0, bits, math.nan)
        return Predictions(likeliest, probabilities, following, surprise)

    def show(
        self,
        *cells: CellName,
        signal: str = "auto",
        successors: bool = False,
        palette: str = "blue-red",
        names: Mapping[str, str] | None = None,
    ) -> Picture:
        """Return the text colored by each of these cells; c is shown as tanh(c).

        successors: under each character the likeliest next ones and the surprise of the true one. names: cell → what is
        known of it, a sentence that files show as a heading.
        """
        signal = self.network.recurrence.find_signal(signal)
        shown = self.predictions.successors(self.vocabulary) if successors else None
        chosen = [as_cell(name, self.network) for name in cells]
        views = [self._view(cell, signal, palette, shown, (names or {}).get(str(cell), "")) for cell in chosen]
        return Picture(views, self.described())

    def _view(self, cell: Cell, signal: str, palette: str, successors: Successors | None, name: str) -> View:
        recurrence = self.network.recurrence
        values = recurrence.displayed(signal, self._of_cell(cell, signal))
        title = f"{recurrence.display_name(signal)} of cell {cell}"
        scale = displayed_scale(recurrence, signal, values)
        return View(self.characters, values.tolist(), title, scale, palette, successors, name)

    def described(self) -> dict[str, str]:
        """Return name → value: the model, the part of the text, and its mean loss."""
        last = self.start + len(self) - 1
        facts = {**self.facts, "text": f"{self.title}, characters {count(self.start)}–{count(last)}"}
        known = self.surprise[np.isfinite(self.surprise)]
        return {**facts, "loss": f"{known.mean():.2f} bits/char on these characters"} if len(known) else facts

    def to_json(self, *cells: CellName, signal: str = "auto", successors: bool = False) -> dict[str, Any]:
        """Return the values of these cells with the characters, in JSON's own types."""
        signal = self.network.recurrence.find_signal(signal)
        data: dict[str, Any] = {
            "text": self.title,
            "start": self.start,
            "characters": self.characters,
            "surprise_bits": [None if math.isnan(bits) else bits for bits in self.surprise.tolist()],
            "cells": [
                {
                    "cell": str(as_cell(name, self.network)),
                    "signal": signal,
                    "values": self._of_cell(name, signal).tolist(),
                }
                for name in cells
            ],
        }
        if successors:
            symbols, predicted = display_symbols(self.vocabulary), self.predictions
            data["likeliest_next"] = [
                {symbols[one]: value for one, value in zip(ids, values, strict=True)}
                for ids, values in zip(predicted.likeliest.tolist(), predicted.probabilities.tolist(), strict=True)
            ]
        return data

    def to_dataframe(self, *cells: CellName, signal: str = "auto") -> pandas.DataFrame:
        """Return a pandas frame: a row for each character, a column for its surprise in bits and one for each cell.

        cells: all if none is named. Raises CharrnnError where pandas is not installed.
        """
        frames = import_extra("pandas", "to_dataframe()")
        columns = [as_cell(name, self.network) for name in cells] or self.cells
        signal = self.network.recurrence.find_signal(signal)
        values = np.stack([self._of_cell(cell, signal) for cell in columns], axis=1) if cells else self[signal]
        index = frames.RangeIndex(self.start, self.start + len(self), name="position")
        data: pandas.DataFrame = frames.DataFrame(values, index=index, columns=[str(cell) for cell in columns])
        data.insert(0, "character", self.characters)
        data.insert(1, "surprise", self.surprise)
        return data


def displayed_scale(recurrence: Recurrence, signal: str, values: Iterable[float]) -> SignalScale:
    """Return the scale on which displayed values of a signal are colored."""
    low, high = recurrence.displayed_range(signal)
    return SignalScale(low, high) if math.isfinite(high) else SignalScale.covering(values)


def as_cell(name: CellName, network: CharRNN) -> Cell:
    """Return the cell of this name. Raises UsageError where the network has none."""
    settings = network.settings
    return find_cell(str(name), settings.layers, settings.hidden_size)


def display_symbols(vocabulary: Vocabulary) -> list[str]:
    """Return a string for each id, as views want them: the character itself; bytes beyond ASCII as `\\xNN`."""
    if vocabulary.kind == "characters":
        return list(vocabulary.characters)
    return [chr(byte) if byte < 0x80 else symbol for byte, symbol in enumerate(vocabulary.symbols)]
