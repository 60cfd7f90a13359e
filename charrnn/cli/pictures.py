"""Text colored by cells with what is known of them, and cells that match a span of the text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.stderr import say
from charrnn.discovery.profile import CellPassage
from charrnn.display.activations import excerpt_lines, render
from charrnn.display.clusters import columns
from charrnn.display.histogram import histogram_lines
from charrnn.display.layout import display_form, layout
from charrnn.display.terminal import DEFAULT_COLUMNS, Terminal, safe_line
from charrnn.display.view import View
from charrnn.inspection.recorded_trace import display_symbols
from charrnn.settings import InspectSettings
from charrnn.units import amount, count, file_size, percent, signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from charrnn.api import Model
    from charrnn.discovery.profile import CellProfile
    from charrnn.explorer.page import Explorer
    from charrnn.inspection.trace import Cell
    from charrnn.text.encoded_text import EncodedText

MAX_ROWS = 10
FIRST_ROWS = 14  # rows of the picture that are sure to fit on the first screen, below the name and the legend
LENGTH = 1500  # characters of a file, a pipe or JSON
KIND = len("false alarm") + 1  # columns for the kind of a passage
PASSAGE = 80  # characters before and after a passage that may be shown
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
    """Show a text colored by each of these cells, print the values as JSON, or write a file.

    Without a start, the text begins where the first cell changes most, and what else is known of one cell follows.
    """
    profiles = [
        model.profile(cell, encoded, signal=settings.signal, passages=settings.passages if len(cells) == 1 else 0)
        for cell in cells
    ]
    on_screen = terminal.is_terminal and not as_json and output is None
    start, length = settings.start, settings.length
    if start is None:
        characters = model.characters(encoded[: len(profiles[0].values)]).characters
        start = profiles[0].busiest(length or FIRST_ROWS * DEFAULT_COLUMNS, characters)
    if length is None:
        length = _fitting(model, encoded[start : start + LENGTH], terminal) if on_screen else LENGTH
    trace = model.trace(encoded, start=start, length=length, title=title)
    if as_json:
        about = {"run": model.name, "step": model.checkpoint.step, "model": model.run.settings.model.to_json()}
        values = trace.to_json(*cells, signal=settings.signal, successors=settings.top)
        for one, profile in zip(values["cells"], profiles, strict=True):
            one["profile"] = profile.to_json(model.vocabulary.symbols)
        print(json.dumps(about | values))
        return
    names = {str(cell): _claim(model, cell, encoded) for cell in cells}
    picture = trace.show(*cells, signal=settings.signal, successors=settings.top, palette=settings.palette, names=names)
    if output is not None:
        picture.save(output)
        say(f"written to {output}")
        return
    for place, (profile, view) in enumerate(zip(profiles, picture.views, strict=True)):
        terminal.write("\n" if place else "")
        terminal.paragraph(view.name)
        if not place:
            terminal.paragraph(" · ".join(picture.facts.values()))
        terminal.write_lines(render(view, terminal))
        terminal.write_lines(profile_lines(model, profile, encoded, view, terminal))


def _fitting(model: Model, encoded: EncodedText, terminal: Terminal) -> int:
    """Return how many characters of a text fit on the first screen."""
    symbols = display_symbols(model.vocabulary)
    text = View([symbols[one] for one in encoded.ids.tolist()], [0.0] * len(encoded), "")
    lines = layout(text, terminal.width, unicode=terminal.unicode, program=terminal.program)
    return max(1, sum(glyph.count for line in lines[:FIRST_ROWS] for glyph in line))


def profile_lines(
    model: Model, profile: CellProfile, encoded: EncodedText, view: View, terminal: Terminal
) -> Iterator[str]:
    """Yield passages, a histogram, correlated cells, and effects of a cell as styled lines. view: how it is colored."""
    yield ""
    yield from _passages(model, profile, encoded, view, terminal)
    name = _signal_name(model, profile)
    yield from terminal.wrap(f"distribution of {name}: share of the characters, and their mean {name}")
    yield from histogram_lines(profile.classes(), view.scale, terminal, view.palette)
    yield ""
    yield from _effects(model, profile, terminal.width)
    for line in _facts(model, profile, encoded):
        yield from terminal.wrap(line)


def _passages(
    model: Model, profile: CellProfile, encoded: EncodedText, view: View, terminal: Terminal
) -> Iterator[str]:
    """Yield a line for each passage: its kind, the value, and the text around it."""
    symbols, last = display_symbols(model.vocabulary), ""
    passages = profile.passages
    if passages:
        wrong = [
            CellPassage("miss" if one.holds else "false alarm", one.position, float(profile.values[one.position]))
            for one in model.contradictions(profile.cell, encoded)
        ]
        passages = passages + sorted(wrong, key=lambda one: one.kind, reverse=True)
        note = "; misses and false alarms contradict the name" if wrong else ", and the text around it"
        yield from terminal.wrap(f"{_signal_name(model, profile)} at the {_marked(terminal)} character{note}")
    for one in passages:
        start = max(0, one.position - PASSAGE)
        part = slice(start, min(one.position + PASSAGE, len(profile.values)))
        shown = dataclasses.replace(
            view,
            symbols=[symbols[id] for id in encoded.ids[part].tolist()],
            values=profile.values[part].tolist(),
            successors=None,
        )
        label = f"{one.kind if one.kind != last else '':<{KIND}}{signed(one.value)}  "
        last = one.kind
        for row, line in enumerate(
            excerpt_lines(shown, terminal, terminal.width - len(label), focus=one.position - start)
        ):
            yield (label if not row else " " * len(label)) + line
    if passages:
        yield ""


def _signal_name(model: Model, profile: CellProfile) -> str:
    """Return the name of the values of a profile, such as `tanh(c)`."""
    return model.network.recurrence.display_name(profile.signal)


def _marked(terminal: Terminal) -> str:
    return "marked" if terminal.colors == "none" else "underlined"


def _facts(model: Model, profile: CellProfile, encoded: EncodedText) -> Iterator[str]:
    """Yield sentences about a cell."""
    if profile.correlated:
        yield "correlated cells: " + " · ".join(f"{cell} {signed(value)}" for cell, value in profile.correlated)
    if not profile.effects:
        yield f"layer {profile.cell.layer} is not connected to the output; it acts through the layers above"
    parts = [] if profile.memory is None else [f"median time constant {amount(round(profile.memory), 'character')}"]
    parts += [
        f"{one.gate} gate shut {100 * one.left[0]:.0f} %, wide open {100 * one.right[0]:.0f} %" for one in profile.gates
    ]
    if parts:
        yield " · ".join(parts)


def _effects(model: Model, profile: CellProfile, width: int) -> Iterator[str]:
    """Yield two lines for each state: the logits that the cell raises and lowers most, as many as fit."""
    symbols = [SIGNS.get(symbol) or display_form(symbol, unicode=True)[0] for symbol in model.vocabulary.symbols]
    if profile.effects:
        yield "what it adds to the logits of the next character, compared with its mean"
    for one in profile.effects:
        label = f"{one.state:<{KIND}}{signed(one.value)}"
        for word, side in (("up", one.raised), ("down", one.lowered)):
            line = f"{label:<{KIND + 8}}{word:<4}"
            for id, logit in side:
                entry = f"  {symbols[id]} {signed(logit)}"
                if columns(line) + columns(entry) <= width:
                    line += entry
            yield line
            label = ""
    if profile.effects:
        yield ""


def _claim(model: Model, cell: Cell, encoded: EncodedText) -> str:
    """Return what a search found about a cell, in a sentence."""
    from charrnn.discovery.evidence import MIN_CORRELATE
    from charrnn.discovery.findings import search_command
    from charrnn.discovery.report import measure, score_with_interval, sentence

    evidence, searched = model.claim(cell, encoded), model.earlier_findings(encoded)
    if evidence is None:
        known = searched or model.known_findings(encoded)
        if not known:
            return f"cell {cell}: not searched yet; `{search_command(model.run)}` finds what it tracks"
        where = "" if searched else " in the held-out text"
        candidates = (one for found in known for one in found.claims() if one.cell == str(cell))
        best = next((one for one in candidates if one.score >= MIN_CORRELATE), None)
        if best is None:
            return f"cell {cell}: no property found{where}"
        score = f"{measure(best)} {score_with_interval(best)} within the same character{where}"
        return f'cell {cell} has no name; for "{best.property_name}" it reaches {score}, but {"; ".join(best.failed)}'
    what = sentence(evidence) if evidence.verdict == "tracks" else f'correlates with "{evidence.property_name}"'
    line = f"cell {cell} {what}"
    if evidence.mean_inside is not None and evidence.mean_outside is not None:
        means = signed(evidence.mean_inside), signed(evidence.mean_outside)
        line += f": mean {evidence.signal} {means[0]} there, {means[1]} elsewhere"
    line += f" · {measure(evidence)} {score_with_interval(evidence)} within the same character"
    line += "" if any(found.claim_about(str(cell)) for found in searched) else ", in the held-out text"
    return line + "".join(f" · {failed}" for failed in evidence.failed)


def write_explorer(page: Explorer, file: Path) -> None:
    """Write the explorer to a file, and say what it holds."""
    page.save(file)
    size = file_size(file.stat().st_size)
    say(f"written to {file}: {amount(page.cells, 'cell')}, {size}; {page.note}")


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
        [str(one.cell), "high" if one.sign > 0 else "low", f"{one.hits:,} of {number:,}", percent(one.share, 1)]
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
    return safe_line(shown.replace("\n", "↵"))
