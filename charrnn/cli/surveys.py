"""Looks at many cells, or at one over its life: `--like`, `--gates`, `--history`, and what is said before a picture."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from charrnn.errors import CharrnnError
from charrnn.units import count

if TYPE_CHECKING:
    import numpy as np

    from charrnn.cli.look import Look
    from charrnn.discovery.evidence import Evidence
    from charrnn.discovery.naming import Claim
    from charrnn.inspection.trace import Cell
    from charrnn.properties.catalog import Property

READ_FOR_ALL, READ_FOR_HISTORY, READ_FOR_GATES, READ_FOR_ONE = 200_000, 100_000, 50_000, 20_000
"""Characters of the text, at most, that each kind of look reads."""
PLACES_SHOWN = 10
AROUND = 24  # characters shown on each side of a place


def like(look: Look, piece: str) -> None:
    """The cells that mark a piece of text, and where else they are on together."""
    from charrnn.discovery import span_match
    from charrnn.discovery.inputs import as_characters, characters_of
    from charrnn.display.tables import table

    look = look.of_first(READ_FOR_ALL)
    terminal, ids = look.terminal, look.passage.ids
    text = characters_of(look.run.vocabulary, ids).characters
    sought = as_characters(look.run.vocabulary, piece)
    places = span_match.find_occurrences(sought, text) if sought else []
    if not places:
        raise CharrnnError(
            f"{piece!r} does not stand in the first {count(len(ids))} characters of this text", "copy a piece out of it"
        )
    found = span_match.match_span(look.network, look.passage, places, len(sought))
    if look.as_json:
        cells = [{**dataclasses.asdict(one), "cell": str(one.cell)} for one in found.cells]
        print(json.dumps({**dataclasses.asdict(found), "cells": cells}))
        return
    often = "once" if len(places) == 1 else f"{len(places):,} times"
    terminal.paragraph(f"{piece!r} stands {often} in {count(len(ids))} characters of this text")
    if not found.cells:
        terminal.paragraph("no cell is on throughout and off around it in half of these places")
        return
    terminal.write("\n")
    table(
        ("cell", "on is", "on throughout, off around", "on anywhere"),
        [
            [str(one.cell), "high" if one.sign > 0 else "low", f"{one.hits:,} of {len(places):,}", f"{one.share:.1%}"]
            for one in found.cells[:PLACES_SHOWN]
        ],
        terminal,
        right=("on throughout, off around", "on anywhere"),
    )
    terminal.write("\n")
    joined = found.cells[: span_match.COMBINED_CELLS]
    who = f"{joined[0].cell} is" if len(joined) == 1 else f"the first {len(joined)} of these cells are all"
    longest = ", the longest:" if found.elsewhere else ""
    terminal.paragraph(f"elsewhere {who} on in {len(found.elsewhere):,} places{longest}")
    for start, stop in sorted(found.elsewhere, key=lambda place: place[0] - place[1])[:PLACES_SHOWN]:
        terminal.paragraph(f"{count(start):>9}  {_excerpt(look, start, stop)}")


def _excerpt(look: Look, start: int, stop: int) -> str:
    """A place between ‹ and ›, in one line, with what stands around it."""
    from charrnn.display.terminal import safe_text

    text, ids = look.run.vocabulary.text, look.passage.ids
    inside = text(ids[start:stop])
    if len(inside) > 3 * AROUND:
        inside = inside[:AROUND] + " … " + inside[-AROUND:]
    shown = f"{text(ids[max(0, start - AROUND) : start])}‹{inside}›{text(ids[stop : stop + AROUND])}"
    return safe_text(shown.replace("\n", "↵"), keep_newlines=False, keep_tabs=False)


def gates(look: Look) -> None:
    """The gate_saturation of every gate, a dot for each cell, a plot for each layer."""
    from charrnn.display.plots import scatter
    from charrnn.inspection.gates import gate_saturation

    look = look.of_first(READ_FOR_GATES)
    found = gate_saturation(look.network, look.passage)
    terminal, model = look.terminal, look.run.settings.model
    if look.as_json:
        print(json.dumps([{"gate": one.gate, "shut": one.left.tolist(), "open": one.right.tolist()} for one in found]))
        return
    terminal.paragraph(
        f"{look.title} · {look.text}, {count(len(look.passage))} characters · a dot for each cell: the share of "
        "characters at which its gate is shut (below .1), and wide open (above .9)"
    )
    for layer in range(model.layers):
        own = slice(layer * model.hidden_size, (layer + 1) * model.hidden_size)
        terminal.write(f"\nlayer {layer + 1}\n")
        lines = scatter(
            {one.gate: list(zip(one.left[own].tolist(), one.right[own].tolist(), strict=True)) for one in found},
            min(terminal.width, 72),
            x_label="shut",
            y_label="wide open",
            x_range=(0.0, 1.0),
            y_range=(0.0, 1.0),
            unicode=terminal.unicode,
            colors=terminal.colors,
        )
        terminal.write("".join(f"{line}\n" for line in lines), styled=True)
        for one in found:
            wide, shut = _most(one.right[own]), _most(one.left[own])
            terminal.paragraph(f"{one.gate}: wide open most of the time in {wide} cells, shut in {shut}")


def _most(shares: np.ndarray) -> str:
    return f"{int((shares > 0.5).sum()):,} of {len(shares):,}"


def history(look: Look, cell: Cell, signal: str, one: Property | None, language: str | None) -> None:
    """A cell through the kept checkpoints: its score for a property (None: for what it is known to go with), or how
    much it was already like itself at the last of them."""
    from charrnn.discovery.history import cell_history
    from charrnn.discovery.inputs import characters_of, language_of
    from charrnn.discovery.report import number
    from charrnn.discovery.statistics import auc
    from charrnn.display.plots import sparkline
    from charrnn.display.tables import table

    known = best_known(look, cell) if one is None else None
    one = _property_of(known.evidence) if known is not None else one
    look = look.of_first(READ_FOR_HISTORY)
    terminal, run, passage = look.terminal, look.run, look.passage
    labels = None if one is None else one.of(characters_of(run.vocabulary, passage.ids, language_of(run, language)))
    device = look.network.output.weight.device
    found = cell_history(
        lambda step: run.load_network(str(step), device)[0], run.checkpoint_steps(), passage, cell, signal, labels
    )
    course = list(zip(found.steps, found.rank_correlations, strict=True))
    since = found.settled_at
    what = "itself at the last of them" if one is None else one.title
    if look.as_json:
        scores = [{"step": step, "rank_correlation": value} for step, value in course]
        print(
            json.dumps({"cell": str(cell), "signal": signal, "compared_with": what, "scores": scores, "since": since})
        )
        return
    binary = one is not None and one.kind == "binary"
    score = "AUC | char" if binary else "ρ | char"
    shown = [float(auc(value)) if binary else value for _, value in course]
    terminal.paragraph(f"cell {cell} {signal} of {run.name} in {len(course)} checkpoints, compared with {what}")
    terminal.write("\n")
    rows = [[count(step), number(value)] for (step, _), value in zip(course, shown, strict=True)]
    table(("step", score), rows, terminal, right=("step", score))
    if len(shown) > 2:
        terminal.write(f"\n{sparkline(shown, min(len(shown), terminal.width), unicode=terminal.unicode)}\n")
    terminal.write("\n")
    if since is None:
        terminal.paragraph("it has not become anything of the kind")
    else:
        terminal.paragraph(f"from step {count(since)} on it has nine tenths of its last score or more")
    if len(course) < 3:
        terminal.paragraph("few checkpoints were kept: train with --keep every:N to keep more")


def best_known(look: Look, cell: Cell) -> Claim | None:
    """Return the claim about a cell from the latest search that has one."""
    from charrnn.discovery.cache import earlier_findings

    claims = (found.claim_about(str(cell)) for found in earlier_findings(look.run, look.network, look.passage))
    return next((claim for claim in claims if claim is not None), None)


def _property_of(evidence: Evidence) -> Property | None:
    from charrnn.properties.catalog import CATALOG

    return next((one for one in CATALOG.values() if one.title == evidence.property_name), None)


def opening(look: Look, cell: Cell) -> None:
    """Writes what is known of a cell: what it goes with, its memory, its gates, what it pushes, where it fails.

    Of the text the beginning is read.
    """
    from charrnn.discovery.cache import earlier_findings
    from charrnn.discovery.inputs import characters_of, language_of
    from charrnn.discovery.profile import cell_profile, contradictions
    from charrnn.discovery.report import measure, score_with_interval

    short = look.of_first(READ_FOR_ONE)
    run, terminal = look.run, look.terminal
    drawn = cell_profile(look.network, short.passage, cell)
    known = best_known(look, cell)
    terminal.write("\n")
    if known is None:
        searched = bool(earlier_findings(look.run, look.network, look.passage))
        state = "no name earned" if searched else "what it tracks, `charrnn inspect` without a cell finds out"
        terminal.paragraph(f"cell {cell}: {state}")
    else:
        evidence, judged = known
        verb = "tracks" if judged.kind == "tracks" else "related to"
        line = (
            f"cell {cell} {verb} {evidence.property_name}: {measure(evidence)} | char {score_with_interval(evidence)}"
        )
        if evidence.mean_inside is not None:
            line += f" · {evidence.signal} {evidence.mean_inside:.2f} inside, {evidence.mean_outside:.2f} outside"
        terminal.paragraph(line + (f" · {judged.failed[0]}" if judged.failed else ""))
    parts = [] if drawn.memory is None else [f"memory {drawn.memory:,.0f} characters"]
    parts += [f"{one.gate} gate shut {one.left[0]:.0%}, wide open {one.right[0]:.0%}" for one in drawn.gates]
    if parts:
        terminal.paragraph("  " + " · ".join(parts))
    if drawn.promoted:
        signs = {" ": "·", "\\n": "↵", "\\t": "→"}
        names = [signs.get(sign, sign) for sign in run.vocabulary.symbols]
        up, down = (" ".join(names[one] for one, _ in side) for side in (drawn.promoted, drawn.suppressed))
        terminal.paragraph(f"  h pushes up: {up} · down: {down}")
    one = None if known is None else _property_of(known.evidence)
    if known is not None and one is not None and one.kind == "binary":
        text = characters_of(run.vocabulary, short.passage.ids, language_of(run))
        for found in contradictions(look.network, short.passage, text, known.evidence, one):
            state = "holds, but the cell is off" if found.holds else "does not hold, but the cell is on"
            excerpt = _excerpt(short, found.position, found.position + 1)
            terminal.paragraph(f"  at {count(found.position)} the property {state}: {excerpt}")
