"""The output of a search for interpretable cells."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.causal.effects import Ablation
    from charrnn.discovery.findings import Findings
    from charrnn.display.terminal import Terminal


def print_findings(
    findings: Findings,
    model: Model,
    title: str,
    terminal: Terminal,
    causes: Mapping[tuple[str, str], Ablation],
    *,
    every_cell: bool,
    layer: int | None,
) -> None:
    """Print findings.

    causes: cell and property → ablation. every_cell: also the property that each cell, or each of one layer, fits best.
    """
    from charrnn.discovery import report
    from charrnn.display.tables import table

    terminal.paragraph(f"{model.name} · {model.shape} · {findings.heading(title)}")
    terminal.write("\n")
    named = findings.table()
    if named:
        headers = list(report.CLAIM_HEADERS)
        if causes:
            headers.insert(2, "cause")
            for row, one in zip(named, findings, strict=True):
                row.insert(2, _cause(causes.get((one.cell, one.property_name))))
        table(headers, named, terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.correlates_lines():
        terminal.paragraph(line)
    if every_cell:
        table(report.CELL_HEADERS, findings.cell_table(layer), terminal, right=report.NUMERIC)
        terminal.write("\n")
    for line in findings.closing_lines():
        terminal.paragraph(line)
    for named_cell in list(findings)[:1]:
        terminal.paragraph(f"show one: charrnn inspect {model.name} --cell {named_cell.cell}")


def _cause(ablation: Ablation | None) -> str:
    return "" if ablation is None else "★" * ablation.stars or "not shown"


def print_csv(findings: Findings) -> None:
    """Print the evidence for every candidate as CSV."""
    from charrnn.discovery.findings import columns_of

    names, rows = columns_of(findings.evidence)
    csv.writer(sys.stdout, lineterminator="\n").writerows([names, *rows])
