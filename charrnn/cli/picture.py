"""A stretch of text and what cells do on it: looked up, drawn, exported."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charrnn.errors import CharrnnError
from charrnn.settings import InspectSettings
from charrnn.units import NATS_PER_BIT, count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from charrnn.cli.look import Look
    from charrnn.display.activations import Successors, View
    from charrnn.inspection.trace import Cell
    from charrnn.model.run import Run

WARM_UP = 10_000  # characters read before the first one shown, so that values are those of a long read
LIKELIEST = 5


@dataclass(frozen=True)
class Picture:
    """A stretch of text and what cells do on it.

    symbols: T characters. values: (T, K) of the signal for the K cells. likeliest, probabilities: (T, 5) ids and their
    probabilities. following: T ids of the characters that followed, −1 where the text or a document ends. surprise: T
    bits of those, NaN there.
    """

    look: Look
    start: int
    cells: list[Cell]
    signal: str
    with_successors: bool
    symbols: list[str]
    values: np.ndarray
    likeliest: np.ndarray
    probabilities: np.ndarray
    following: np.ndarray
    surprise: np.ndarray

    def facts(self) -> dict[str, str]:
        """What is looked at, name → value."""
        import numpy as np

        model = self.look.run.settings.model
        facts = {
            "run": f"{self.look.run.name} (step {count(self.look.checkpoint.step)})",
            "model": f"{model.recurrence} {model.layers}×{model.hidden_size}",
            "text": f"{self.look.text}, characters {count(self.start)}–{count(self.start + len(self.symbols) - 1)}",
        }
        known = self.surprise[np.isfinite(self.surprise)]
        return {**facts, "loss": f"{known.mean():.2f} bits/char"} if len(known) else facts

    def views(self, palette: str) -> list[View]:
        """One view for each cell; c is shown as tanh(c)."""
        from charrnn.display.activations import SignalScale, View

        recurrence = self.look.network.recurrence
        low, high = recurrence.displayed_range(self.signal)
        shown = recurrence.displayed(self.signal, self.values)
        name = recurrence.display_name(self.signal)
        return [
            View(
                self.symbols,
                shown[:, place].tolist(),
                f"{name} of cell {cell}",
                SignalScale(low, high) if math.isfinite(high) else SignalScale.covering(shown[:, place]),
                palette,
                self._successors() if self.with_successors else None,
            )
            for place, cell in enumerate(self.cells)
        ]

    def _successors(self) -> Successors:
        from charrnn.display.activations import Successors

        signs = signs_of(self.look.run)
        return Successors(
            symbols=[[signs[one] for one in row] for row in self.likeliest],
            probabilities=self.probabilities.tolist(),
            true=self._places_of_true(),
            surprise=self.surprise.tolist(),
        )

    def _places_of_true(self) -> list[int | None]:
        hits = self.likeliest == self.following[:, None]
        return [int(row.argmax()) if row.any() else None for row in hits]

    def to_json(self) -> dict[str, Any]:
        signs = signs_of(self.look.run)
        data = {
            "run": self.look.run.name,
            "step": self.look.checkpoint.step,
            "model": self.look.run.settings.model.to_json(),
            "text": self.look.text,
            "start": self.start,
            "characters": self.symbols,
            "surprise_bits": [None if value != value else value for value in self.surprise.tolist()],
            "cells": [
                {"cell": str(cell), "signal": self.signal, "values": self.values[:, place].tolist()}
                for place, cell in enumerate(self.cells)
            ],
        }
        if self.with_successors:
            data["likeliest_next"] = [
                {signs[one]: value for one, value in zip(ones, values, strict=True)}
                for ones, values in zip(self.likeliest.tolist(), self.probabilities.tolist(), strict=True)
            ]
        return data


def signs_of(run: Run) -> list[str]:
    """One string for each id, as a view wants them: the character itself; bytes beyond ASCII as `\\xNN`."""
    vocabulary = run.vocabulary
    if vocabulary.kind == "characters":
        return list(vocabulary.characters)
    return [chr(byte) if byte < 0x80 else sign for byte, sign in enumerate(vocabulary.symbols)]


def picture_of(look: Look, cells: list[Cell], settings: InspectSettings) -> Picture:
    """Reads the stretch that the settings name.

    Raises CharrnnError where the text ends before it, or the model has no such signal.
    """
    import numpy as np

    from charrnn.inspection.trace import state_after, trace

    passage, start = look.passage, settings.start
    if start >= len(passage):
        raise CharrnnError(f"the {look.source} ends before character {start}: it has {len(passage)}", "lower --start")
    signal = look.network.recurrence.find_signal(settings.signal)
    shown = passage[start : start + settings.length]
    state = state_after(look.network, passage[max(0, start - WARM_UP) : start])
    following = np.full(len(shown), -1, np.int64)
    after = passage[start + 1 : start + 1 + len(shown)]
    following[: len(after)] = np.where(after.begins(), -1, after.ids.astype(np.int64))
    values, likeliest, probabilities, surprise = [], [], [], []
    for chunk in trace(look.network, shown, signals=[signal], cells=cells, state=state, predictions=True):
        values.append(chunk.signals[signal])
        logs = chunk.log_probabilities
        order = np.argsort(-logs, axis=1, kind="stable")[:, :LIKELIEST]
        likeliest.append(order)
        probabilities.append(np.exp(np.take_along_axis(logs, order, 1)))
        true = following[chunk.start : chunk.start + len(logs)]
        bits = -logs[np.arange(len(logs)), true] / NATS_PER_BIT
        surprise.append(np.where(true >= 0, bits, np.nan))
    signs = signs_of(look.run)
    return Picture(
        look,
        start,
        cells,
        signal,
        settings.top,
        [signs[one] for one in shown.ids.tolist()],
        np.concatenate(values),
        np.concatenate(likeliest),
        np.concatenate(probabilities),
        following,
        np.concatenate(surprise),
    )


def show(picture: Picture, settings: InspectSettings, opening: Callable[[Cell], None]) -> None:
    """Writes a picture: what is looked at, then each cell's view. opening: writes what comes before a cell's view."""
    from charrnn.display.activations import render

    terminal = picture.look.terminal
    terminal.paragraph(" · ".join(picture.facts().values()))
    for cell, view in zip(picture.cells, picture.views(settings.palette), strict=True):
        opening(cell)
        terminal.write("\n")
        for line in render(view, terminal):
            terminal.write(line + "\n", styled=True)


def write_file(picture: Picture, settings: InspectSettings, file: Path) -> None:
    """Writes a picture to a file, in the format of its suffix."""
    from charrnn.display.export import export

    export(file, picture.views(settings.palette), picture.facts())
    print(f"written to {file}", file=sys.stderr)
