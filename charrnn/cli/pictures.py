"""Text colored by cells with what is known of them, and cells that match a span of the text."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.display.terminal import Terminal, safe_text
from charrnn.settings import InspectSettings
from charrnn.units import amount, count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from charrnn.api import Model
    from charrnn.inspection.trace import Cell
    from charrnn.text.encoded_text import EncodedText

MAX_ROWS = 10
CONTEXT = 24  # characters shown on each side of an excerpt
SIGNS = {" ": "·", "\\n": "↵", "\\t": "→"}


def show_cells(
    model: Model,
    cells: Sequence[Cell],
    title: str,
    encoded: EncodedText,
    settings: InspectSettings,
    terminal: Terminal,
    *,
    as_json: bool,
    output: Path | None,
) -> None:
    """Show a text colored by each of these cells, print the values as JSON, or write a file."""
    from charrnn.display.activations import render

    trace = model.trace(encoded, start=settings.start, length=settings.length, title=title)
    if as_json:
        about = {
            "run": model.name,
            "step": model.checkpoint.step,
            "model": model.run.settings.model.to_json(),
        }
        print(json.dumps(about | trace.to_json(*cells, signal=settings.signal, successors=settings.top)))
        return
    picture = trace.show(*cells, signal=settings.signal, successors=settings.top, palette=settings.palette)
    if output is not None:
        picture.save(output)
        print(f"written to {output}", file=sys.stderr)
        return
    terminal.paragraph(" · ".join(picture.facts.values()))
    for cell, view in zip(cells, picture.views, strict=True):
        terminal.write("\n")
        for line in _profile(model, cell, encoded):
            terminal.paragraph(line)
        terminal.write("\n")
        for line in render(view, terminal):
            terminal.write(line + "\n", styled=True)


def _profile(model: Model, cell: Cell, encoded: EncodedText) -> Iterator[str]:
    """Yield what is known of a cell: its property, memory, gates, logits, and contradictions."""
    yield _claim(model, cell, encoded)
    profile = model.profile(cell, encoded)
    parts = [] if profile.memory is None else [f"memory {amount(round(profile.memory), 'character')}"]
    parts += [f"{one.gate} gate shut {one.left[0]:.0%}, wide open {one.right[0]:.0%}" for one in profile.gates]
    if parts:
        yield "  " + " · ".join(parts)
    if profile.promoted:
        names = [SIGNS.get(symbol, symbol) for symbol in model.vocabulary.symbols]
        more, less = (" ".join(names[one] for one, _ in side) for side in (profile.promoted, profile.suppressed))
        yield f"  h raises the logits of: {more} · lowers: {less}"
    for one in model.contradictions(cell, encoded):
        state = "holds, but the cell is off" if one.holds else "does not hold, but the cell is on"
        yield f"  at {count(one.position)} the property {state}: {_excerpt(model, encoded, one.position)}"


def _claim(model: Model, cell: Cell, encoded: EncodedText) -> str:
    from charrnn.discovery.report import measure, score_with_interval

    evidence = model.claim(cell, encoded)
    if evidence is None:
        searched = bool(model.earlier_findings(encoded))
        state = "no property found" if searched else "not searched yet; `charrnn inspect` finds what it tracks"
        return f"cell {cell}: {state}"
    verb = "tracks" if evidence.verdict == "tracks" else "correlates with"
    line = f"cell {cell} {verb} {evidence.property_name}: {measure(evidence)}|char {score_with_interval(evidence)}"
    if evidence.mean_inside is not None:
        line += f" · {evidence.signal} {evidence.mean_inside:.2f} inside, {evidence.mean_outside:.2f} outside"
    return line + "".join(f" · {failed}" for failed in evidence.failed)


def find_span(model: Model, span: str, encoded: EncodedText, terminal: Terminal, *, as_json: bool) -> None:
    """Show the cells that match a span of the text, and where else they are on together."""
    from charrnn.discovery.span_match import COMBINED_CELLS
    from charrnn.display.tables import table

    found = model.match_span(span, encoded)
    if as_json:
        cells = [{**dataclasses.asdict(one), "cell": str(one.cell)} for one in found.cells]
        print(json.dumps({**dataclasses.asdict(found), "cells": cells}))
        return
    number = len(found.occurrences)
    terminal.paragraph(f"{span!r} occurs {'once' if number == 1 else f'{number:,} times'} in this text")
    if not found.cells:
        terminal.paragraph("no cell is on throughout and off around it in half of these places")
        return
    terminal.write("\n")
    headers = ("cell", "on is", "matches", "on anywhere")
    rows = [
        [str(one.cell), "high" if one.sign > 0 else "low", f"{one.hits:,} of {number:,}", f"{one.share:.1%}"]
        for one in found.cells[:MAX_ROWS]
    ]
    table(headers, rows, terminal, right=headers[2:])
    terminal.write("\n")
    joined = min(len(found.cells), COMBINED_CELLS)
    who = f"{found.cells[0].cell} is" if joined == 1 else f"the first {joined} of these cells are all"
    longest = ", the longest:" if found.elsewhere else ""
    terminal.paragraph(f"elsewhere {who} on in {len(found.elsewhere):,} places{longest}")
    for start, stop in sorted(found.elsewhere, key=lambda place: place[0] - place[1])[:MAX_ROWS]:
        terminal.paragraph(f"{count(start):>9}  {_excerpt(model, encoded, start, stop)}")


def _excerpt(model: Model, encoded: EncodedText, start: int, stop: int | None = None) -> str:
    """Return a place between ‹ and ›, with its context, in one line."""
    text, ids = model.vocabulary.text, encoded.ids
    stop = start + 1 if stop is None else stop
    inside = text(ids[start:stop])
    if len(inside) > 3 * CONTEXT:
        inside = inside[:CONTEXT] + " … " + inside[-CONTEXT:]
    shown = f"{text(ids[max(0, start - CONTEXT) : start])}‹{inside}›{text(ids[stop : stop + CONTEXT])}"
    return safe_text(shown.replace("\n", "↵"), keep_newlines=False, keep_tabs=False)
