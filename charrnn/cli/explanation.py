"""What `charrnn evaluate --explain` shows: where the bits go, and the passages that take most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charrnn.display.activations import excerpt_lines, legend
from charrnn.display.export import export
from charrnn.display.tables import table
from charrnn.display.terminal import Terminal
from charrnn.display.view import SignalScale, View
from charrnn.units import count, percent

if TYPE_CHECKING:
    from charrnn.scoring.divisions import Share
    from charrnn.scoring.explanation import Explanation, Passage

SURPRISE = SignalScale(0.0, 10.0)
"""Bits of a character: those from ten on, p < 0.001, have the strongest color."""
DIFFERENCE = SignalScale(-5.0, 5.0)
HEADERS = ("where the bits go", "characters", "share", "of the bits", "bits each")
PASSAGES, PASSAGES_IN_FILE = 5, 20
CONTEXT = 200
"""Characters of a file before and after a passage."""


def print_explanation(explained: Explanation, symbols: Sequence[str], terminal: Terminal) -> None:
    """Print a table of all classes, and the passages with the most bits. symbols: of each character."""
    wrong = 1 - explained.oracles[0].characters / explained.characters
    groups = {**explained.divisions, f"errors ({percent(wrong, 1)}), removed by": explained.oracles}
    rows: list[list[str]] = []
    for name, shares in groups.items():
        own = [_row(one, explained) for one in shares if one.characters]
        if len(own) > 1:
            rows += [[], [name], *own] if rows else [[name], *own]
    terminal.write("\n")
    table(HEADERS, [[*row, *[""] * (len(HEADERS) - len(row))] for row in rows], terminal, right=HEADERS[1:])
    terminal.write("\n")
    terminal.paragraph("An error has p < ½; each is counted in the first row that would remove it.")
    if not explained.knows_training:
        terminal.paragraph("The rows of n-grams and rare words need the training text, which --corpus names.")
    view = View(symbols, explained.bits.tolist(), "the passages with the most bits", SURPRISE)
    print_passages(view, explained.passages(PASSAGES), terminal)


def _row(one: Share, explained: Explanation) -> list[str]:
    bits = float(np.nansum(explained.bits)) or 1.0
    return [
        f"  {one.name}",
        count(one.characters),
        percent(one.characters / explained.characters, 1),
        percent(one.bits / bits, 1),
        f"{one.bits / one.characters:.3f}",
    ]


def print_passages(view: View, passages: Sequence[Passage], terminal: Terminal) -> None:
    """Print passages of a view, colored by its values, with the line where each begins and its mean."""
    terminal.write("\n")
    terminal.write_lines(legend(view, terminal))
    for one in passages:
        label = f"line {one.line:<7,} {one.value:6.2f}  "
        shown = view.part(one.start, one.stop)
        for row, line in enumerate(excerpt_lines(shown, terminal, terminal.width - len(label))):
            terminal.write((label if not row else " " * len(label)) + line + "\n", styled=True)


def export_passages(path: Path, explained: Explanation, symbols: Sequence[str], facts: dict[str, str]) -> None:
    """Write the passages with their context to a file. Raises UsageError for an unknown suffix."""
    whole = View(symbols, explained.bits.tolist(), "", SURPRISE)
    views = []
    for one in explained.passages(PASSAGES_IN_FILE):
        part = whole.part(max(0, one.start - CONTEXT), min(one.stop + CONTEXT, len(symbols)))
        title = f"around line {count(one.line)}, {one.value:.2f} bits per character"
        views.append(View(part.symbols, part.values, title, SURPRISE))
    export(path, views, facts)
