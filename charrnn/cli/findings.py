"""The output of a search for interpretable cells."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from charrnn.model.built_in import BUILT_IN

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.causal.effects import Ablation
    from charrnn.discovery.findings import Findings
    from charrnn.display.terminal import Terminal

OTHER_ROWS = 3
"""Rows of a terminal for a note before the findings, a blank line, and the prompt."""
UNNAMED = "Small networks and short trainings often have no named cell: train longer, or on more text"


def print_findings(
    findings: Findings,
    model: Model,
    title: str,
    terminal: Terminal,
    causes: Mapping[tuple[str, str], Ablation],
    evidence: bool,
    every_cell: bool,
    layer: int | None,
    asked: bool = False,
) -> None:
    """Print findings. A terminal shows as many named cells as fit, unless more is asked for.

    causes: cell and property → ablation. evidence: also the scores behind the names, and caveats. every_cell: also the
    property that each cell, or each of one layer, fits best. asked: the user named the properties.
    """
    from charrnn.causal.effects import costs
    from charrnn.discovery import report
    from charrnn.discovery.report import Cause, filled
    from charrnn.display.clusters import columns
    from charrnn.display.tables import fit, key_values, table

    shown = {key: Cause(one.stars, costs(one)) for key, one in causes.items()}
    first = next((one.cell for one, _ in findings.shown_with_causes(shown)), None)
    next_lines = _next(findings, model.name, first, evidence=evidence)
    most = None
    if terminal.is_terminal and not (evidence or every_cell or asked):
        below = sum(-(-columns(line, terminal.program) // terminal.width) for line in next_lines)
        most = terminal.height - below - OTHER_ROWS
    heading = f"{model.name} · {model.shape} · {findings.heading(title)}"
    terminal.write_lines(findings.lines(terminal, heading, shown, most))
    named = findings.table()
    if evidence:
        terminal.write("\n")
        if named:
            headers, rows = fit(report.CLAIM_HEADERS, named, terminal, report.OPTIONAL)
            table(headers, rows, terminal, right=report.NUMERIC)
            left_out = [header for header in report.CLAIM_HEADERS if header not in headers]
            if left_out:
                terminal.paragraph(f"left out at this width: {', '.join(left_out)}; --csv has all")
            terminal.write("\n")
            key_values([(one, report.GLOSSARY[one]) for one in headers if one in report.GLOSSARY], terminal)
            terminal.write("\n")
        for caveat in findings.caveats():
            terminal.write("".join(f"{line}\n" for line in filled(caveat, terminal, indent=report.INDENT)))
    if every_cell:
        terminal.write("\n")
        table(report.CELL_HEADERS, findings.cell_table(layer), terminal, right=report.NUMERIC)
    terminal.write("\n")
    if not named and not findings.matches:
        hint = "" if evidence else "; --evidence says what the best ones miss"
        terminal.write("".join(f"{line}\n" for line in [*filled(UNNAMED + hint, terminal), ""]))
    for line in next_lines:
        terminal.write(f"{line}\n")


def _next(findings: Findings, run: str, first: str | None, *, evidence: bool) -> list[str]:
    """Return the commands to run next. first: the named cell that is shown first."""
    known = [first] if first else [one.cell for one in findings.claims("correlates")] or [*findings.gradient_shares]
    rows = [(f"charrnn inspect {run} --cell {known[0]}", "passages, gates and logits of this cell")] if known else []
    if known:
        rows.append((f"charrnn ablate {run} --cell {known[0]}", "what the network loses without it"))
    else:
        rows.append((f"charrnn inspect {run} --characters 600000", "a search of more text, for rarer properties"))
    if not evidence:
        rows.append((f"charrnn inspect {run} --evidence", "all that was found, with scores"))
    if not len(findings) and run != BUILT_IN:
        rows.append((f"charrnn inspect {BUILT_IN}", "named cells of the built-in model"))
    width = max((len(command) for command, _ in rows), default=0)
    return [f"{command:<{width}}  {what}" for command, what in rows]


def print_csv(findings: Findings) -> None:
    """Print the evidence for every candidate as CSV."""
    from charrnn.discovery.findings import columns_of

    names, rows = columns_of(findings.evidence)
    csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
