"""A stretch of text and what cells do on it: looked up, drawn, exported."""

from __future__ import annotations

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

    from charrnn.display.activations import Successors, View
    from charrnn.display.terminal import Terminal
    from charrnn.inspection.trace import Cell
    from charrnn.model.network import CharRNN
    from charrnn.model.run import Run, Save

WARM_UP = 10_000  # characters read before the first one shown, so that values are those of a long read
LIKELIEST = 5


@dataclass(frozen=True)
class Picture:
    """A stretch of text and what cells do on it.

    symbols: T characters. values: (T, K) of the signal for the K cells. likeliest, probabilities: (T, 5) ids and their
    probabilities. following: T ids of the characters that followed, −1 where the text ends. surprise: T bits of those,
    NaN there.
    """

    run: Run
    save: Save
    source: str
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

        model = self.run.settings.model
        facts = {
            "run": f"{self.run.name} (step {count(self.save.step)})",
            "model": f"{model.recurrence} {model.layers}×{model.hidden_size}",
            "text": f"{self.source}, characters {count(self.start)}–{count(self.start + len(self.symbols) - 1)}",
        }
        known = self.surprise[np.isfinite(self.surprise)]
        return {**facts, "loss": f"{known.mean():.2f} bits/char"} if len(known) else facts

    def views(self, palette: str) -> list[View]:
        """One view for each cell; c is shown as tanh(c)."""
        import numpy as np

        from charrnn.display.activations import SignalScale, View

        scale = SignalScale.SIGNED if self.signal in ("c", "h", "candidate") else SignalScale.UNIT
        shown = np.tanh(self.values) if self.signal == "c" else self.values
        name = {"c": "tanh(c)", "h": "h"}.get(
            self.signal, f"{self.signal}{'' if self.signal == 'candidate' else ' gate'}"
        )
        return [
            View(
                self.symbols,
                shown[:, place].tolist(),
                f"{name} of cell {cell}",
                scale,
                palette,
                self._successors() if self.with_successors else None,
            )
            for place, cell in enumerate(self.cells)
        ]

    def _successors(self) -> Successors:
        from charrnn.display.activations import Successors

        signs = signs_of(self.run)
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
        signs = signs_of(self.run)
        data = {
            "run": self.run.name,
            "step": self.save.step,
            "model": self.run.settings.model.to_json(),
            "text": self.source,
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


def look(
    run: Run,
    save: Save,
    network: CharRNN,
    source: str,
    ids: np.ndarray,
    cells: list[Cell],
    settings: InspectSettings,
) -> Picture:
    """Reads the stretch that the settings name.

    Raises CharrnnError where the text ends before it, or the model has no such signal.
    """
    import numpy as np

    from charrnn.inspection.trace import find_signal, state_after, trace

    if settings.start >= len(ids):
        raise CharrnnError(f"the {source} ends before character {settings.start}: it has {len(ids)}", "lower --start")
    signal = find_signal(settings.signal, run.settings.model.recurrence)
    stop = min(settings.start + settings.length, len(ids))
    state = state_after(network, ids[max(0, settings.start - WARM_UP) : settings.start])
    following = np.full(stop - settings.start, -1, np.int64)
    following[: len(ids) - settings.start - 1] = ids[settings.start + 1 : stop + 1]
    values, likeliest, probabilities, surprise = [], [], [], []
    for chunk in trace(
        network, ids[settings.start : stop], signals=[signal], cells=cells, state=state, predictions=True
    ):
        values.append(chunk.signals[signal])
        logs = chunk.log_probabilities
        order = np.argsort(-logs, axis=1, kind="stable")[:, :LIKELIEST]
        likeliest.append(order)
        probabilities.append(np.exp(np.take_along_axis(logs, order, 1)))
        true = following[chunk.start : chunk.start + len(logs)]
        bits = -logs[np.arange(len(logs)), true] / NATS_PER_BIT
        surprise.append(np.where(true >= 0, bits, np.nan))
    signs = signs_of(run)
    return Picture(
        run,
        save,
        source,
        settings.start,
        cells,
        signal,
        settings.top,
        [signs[one] for one in ids[settings.start : stop].tolist()],
        np.concatenate(values),
        np.concatenate(likeliest),
        np.concatenate(probabilities),
        following,
        np.concatenate(surprise),
    )


def show(picture: Picture, settings: InspectSettings, terminal: Terminal, opening: Callable[[Cell], None]) -> None:
    """Writes a picture: what is looked at, then each cell's view. opening: writes what comes before a cell's view."""
    from charrnn.display.activations import render

    terminal.write(" · ".join(picture.facts().values()) + "\n")
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
